// See aggregation_recipe.h.
#include "trainer/model/aggregation_recipe.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "proto/base/utf8.h"

namespace mh::model {
namespace {

// Indexed by Rule, then by Pre.
constexpr std::size_t kRules = 10;
constexpr std::array<RuleInfo, 14> kTable = {{
    {"mean", false, "sum of x_i / n, in double, rounded once", "n d", "n >= 1; breakdown 0", "-",
     ""},
    {"median", false, "each coordinate: the middle value; even n: mean of the two middle ones",
     "n log^2 n d", "2f < n", "Yin et al., ICML 2018", ""},
    {"trimmed_mean", false,
     "each coordinate: sort, drop the f smallest and the f largest, average the rest",
     "n log^2 n d", "2f < n", "Yin et al., ICML 2018", ""},
    {"meamed", false, "each coordinate: average of the n-f values nearest to the median",
     "n log^2 n d", "2f < n", "Xie et al. 2018", ""},
    {"krum", false,
     "the x_i with the least sum of squared distances to its k nearest others; k = n-f-1, paper: "
     "n-f-2",
     "n^2 d", "2f < n; paper: n >= 2f+3", "Blanchard et al., NeurIPS 2017", "--convention"},
    {"multi_krum", false,
     "average of the q vectors with the best Krum scores; q = n-f, paper: n-f-2", "n^2 d",
     "2f < n, 1 <= q <= n; paper: n >= 2f+3, q <= n-f-2", "Blanchard et al., NeurIPS 2017",
     "--convention --q"},
    {"geometric_median", false,
     "smoothed Weiszfeld from z = 0, T times: w_i = 1/max(nu, |x_i-z|), z = sum w_i x_i / sum w_i",
     "n^2 d + T n^2", "2f < n", "Pillutla, Kakade, Harchaoui, IEEE TSP 2022",
     "--nu (0.1) --iterations (3)"},
    {"centered_clipping", false, "from v = 0, L times: v += (1/n) sum (x_i-v) min(1, tau/|x_i-v|)",
     "n^2 d + L n^2", "n >= 1; theory for f/n up to about 0.1", "Karimireddy, He, Jaggi, ICML 2021",
     "--tau (100) --iterations (1)"},
    {"mda", false, "mean of the n-f vectors with the smallest diameter", "n^2 d + C(n,f)",
     "2f < n, C(n,f) <= 50,000,000", "El Mhamdi et al., PODC 2020", ""},
    {"caf", false,
     "down-weights along the top eigenvector of the weighted covariance until the weights sum to "
     "n-2f; the mean with the smallest eigenvalue",
     "n^2 d + n^3", "2f < n", "Allouah, Guerraoui, Stephan, ICML 2025", ""},
    {"nnm", true, "y_i = mean of the n-f vectors nearest to x_i, itself included", "n^2 d", "f < n",
     "Allouah et al., AISTATS 2023", ""},
    {"bucketing", true, "a random permutation, then means of s vectors each; ceil(n/s) are left",
     "n d", "s >= 1; the rule's condition for ceil(n/s)", "Karimireddy, He, Jaggi, ICLR 2022",
     "--bucket-size (1) --bucket-seed (0) --bucket-order (shuffled)"},
    {"clipping", true, "x_i min(1, c/|x_i|)", "n^2 d", "c > 0", "-", "--clip-norm (2)"},
    {"arc", true, "the floor(2f(n-f)/n) longest vectors are clipped to the next longest norm",
     "n^2 d", "f < n", "Allouah et al. 2024", ""},
}};

std::string quoted_names(bool is_pre) {
  std::string names;
  for (const RuleInfo& info : kTable) {
    if (info.is_pre == is_pre) names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  return names;
}

Error refuse(std::string_view name, const std::string& condition, std::size_t count,
             const std::string& numbers) {
  return fail(Errc::kInvalidArgument, std::string(name) + " needs " + condition + ": " + numbers +
                                          (numbers.empty() ? "" : ", ") +
                                          "n = " + std::to_string(count));
}

double binomial(std::size_t n, std::size_t k) {
  double value = 1;
  for (std::size_t i = 0; i < k; ++i)
    value = value * static_cast<double>(n - i) / static_cast<double>(i + 1);
  return value;
}

Status check_numbers(const Recipe& recipe) {
  const auto is_positive = [](double value) { return std::isfinite(value) && value > 0; };
  if (!is_positive(recipe.nu)) return fail(Errc::kInvalidArgument, "nu must be above 0");
  if (!is_positive(recipe.tau)) return fail(Errc::kInvalidArgument, "tau must be above 0");
  if (!is_positive(recipe.clip_norm))
    return fail(Errc::kInvalidArgument, "the norm to clip to must be above 0");
  if (recipe.bucket_size == 0)
    return fail(Errc::kInvalidArgument, "the bucket size must be at least 1");
  if (recipe.iterations.value_or(1) == 0 || recipe.iterations.value_or(1) > kIterationsMax)
    return fail(Errc::kInvalidArgument,
                "iterations must be 1 to " + std::to_string(kIterationsMax));
  if (recipe.pre.size() > kPresMax)
    return fail(Errc::kInvalidArgument,
                "at most " + std::to_string(kPresMax) + " pre-aggregations");
  return {};
}

Status check_rule(const Recipe& recipe, std::size_t count) {
  const std::string_view name = name_of(recipe.rule);
  const std::string f_text = "f = " + std::to_string(recipe.f);
  if (recipe.rule == Rule::kMean || recipe.rule == Rule::kCenteredClipping) return {};
  if (recipe.f >= count || 2 * recipe.f >= count) return refuse(name, "2f < n", count, f_text);
  const bool is_krum = recipe.rule == Rule::kKrum || recipe.rule == Rule::kMultiKrum;
  const bool is_paper = recipe.convention == Convention::kPaper;
  if (is_krum && is_paper && count < 2 * recipe.f + 3)
    return refuse(name, "n >= 2f+3 in the paper's convention", count, f_text);
  if (recipe.rule == Rule::kMultiKrum) {
    const std::size_t q_max = is_paper ? count - recipe.f - 2 : count;
    const std::size_t q = multi_krum_q(recipe, count);
    if (q == 0 || q > q_max)
      return refuse(name, is_paper ? "1 <= q <= n-f-2 in the paper's convention" : "1 <= q <= n",
                    count, "q = " + std::to_string(q) + ", " + f_text);
  }
  if (recipe.rule == Rule::kMda && binomial(count, recipe.f) > kSubsetsMax)
    return refuse(name, "at most 50,000,000 subsets of n-f vectors", count, f_text);
  return {};
}

}  // namespace

std::span<const RuleInfo> rule_table() { return kTable; }
std::string_view name_of(Rule rule) { return kTable[static_cast<std::size_t>(rule)].name; }
std::string_view name_of(Pre pre) { return kTable[kRules + static_cast<std::size_t>(pre)].name; }

std::string names_of(const Recipe& recipe) {
  std::string text;
  for (const Pre pre : recipe.pre) text += std::string(name_of(pre)) + "+";
  return text + std::string(name_of(recipe.rule));
}

Result<Rule> rule_named(std::string_view name) {
  for (std::size_t i = 0; i < kRules; ++i) {
    if (kTable[i].name == name) return static_cast<Rule>(i);
  }
  return fail(Errc::kInvalidArgument,
              "no rule is named '" + plain_text(name, 64) + "': there are " + quoted_names(false));
}

Result<Pre> pre_named(std::string_view name) {
  for (std::size_t i = kRules; i < kTable.size(); ++i) {
    if (kTable[i].name == name) return static_cast<Pre>(i - kRules);
  }
  return fail(Errc::kInvalidArgument, "no pre-aggregation is named '" + plain_text(name, 64) +
                                          "': there are " + quoted_names(true));
}

bool is_coordinate_wise(Rule rule) {
  return rule == Rule::kMedian || rule == Rule::kTrimmedMean || rule == Rule::kMeamed;
}

bool needs_geometry(const Recipe& recipe) {
  const bool rule_does = !is_coordinate_wise(recipe.rule) && recipe.rule != Rule::kMean;
  return rule_does || std::any_of(recipe.pre.begin(), recipe.pre.end(),
                                  [](Pre pre) { return pre != Pre::kBucketing; });
}

std::size_t multi_krum_q(const Recipe& recipe, std::size_t count) {
  if (recipe.q) return *recipe.q;
  const std::size_t paper_less = recipe.convention == Convention::kPaper ? 2 : 0;
  return count - recipe.f - paper_less;
}

std::size_t krum_neighbours(const Recipe& recipe, std::size_t count) {
  return count - recipe.f - (recipe.convention == Convention::kPaper ? 2 : 1);
}

Status check_recipe(const Recipe& recipe, std::size_t input_count) {
  if (input_count == 0) return fail(Errc::kInvalidArgument, "nothing to aggregate: no inputs");
  if (input_count > kInputsMax)
    return fail(Errc::kInvalidArgument, std::to_string(input_count) + " inputs, the limit is " +
                                            std::to_string(kInputsMax));
  MH_TRY_VOID(check_numbers(recipe));
  std::size_t count = input_count;
  for (const Pre pre : recipe.pre) {
    const bool uses_f = pre == Pre::kNnm || pre == Pre::kArc;
    if (uses_f && recipe.f >= count)
      return refuse(name_of(pre), "f < n", count, "f = " + std::to_string(recipe.f));
    if (pre == Pre::kBucketing) {
      const std::size_t size = std::min<std::uint64_t>(recipe.bucket_size, count);
      count = (count + size - 1) / size;
    }
  }
  Status rule = check_rule(recipe, count);
  if (!rule && count != input_count)
    return fail(rule.error().code,
                rule.error().message + " (buckets of " + std::to_string(input_count) + " inputs)");
  return rule;
}

Result<InputCounts> counts_defined(const Recipe& recipe) {
  InputCounts counts;
  Status last;
  for (std::size_t count = 1; count <= kInputsMax; ++count) {
    last = check_recipe(recipe, count);
    if (!last && counts.least > 0) break;
    if (!last) continue;
    if (counts.least == 0) counts.least = count;
    counts.most = count;
  }
  if (counts.least == 0) return last.error();
  return counts;
}

}  // namespace mh::model
