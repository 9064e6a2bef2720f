// What to aggregate with: a rule, the pre-aggregations before it, their numbers; and the table that
// says of each what it is, what it costs and what it needs. Definitions: docs/aggregation.md. Pure.
// Here, below scheduler and trainer/robust, because job files hold recipes and trainer/robust
// carries them out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"

namespace mh::model {

enum class Rule {
  kMean,
  kMedian,
  kTrimmedMean,
  kMeamed,
  kKrum,
  kMultiKrum,
  kGeometricMedian,
  kCenteredClipping,
  kMda,
  kCaf,
};
enum class Pre { kNnm, kBucketing, kClipping, kArc };
/// Where ByzFL and the paper of a rule differ: Krum and Multi-Krum.
enum class Convention { kByzfl, kPaper };

/// Most vectors in one aggregation: n² doubles are kept, 16 times and 4 times a thread while
/// they are summed.
inline constexpr std::size_t kInputsMax = 1'024;
inline constexpr std::size_t kPresMax = 8;
/// Most subsets that mda may have to look at: the binomial coefficient of n and f.
inline constexpr double kSubsetsMax = 5e7;
inline constexpr std::uint64_t kIterationsMax = 10'000;

struct Recipe {
  Rule rule = Rule::kMean;
  /// Most vectors that may be bad.
  std::uint64_t f = 0;
  /// Applied in this order before the rule.
  std::vector<Pre> pre;
  Convention convention = Convention::kByzfl;
  /// geometric_median: the least distance that a weight is the inverse of.
  double nu = 0.1;
  /// geometric_median (default 3) and centered_clipping (default 1): passes of the iteration.
  std::optional<std::uint64_t> iterations;
  /// centered_clipping: the longest difference that counts in full.
  double tau = 100;
  /// multi_krum: vectors averaged; default n - f, in the paper's convention n - f - 2.
  std::optional<std::uint64_t> q;
  /// bucketing: vectors a bucket, key of the permutation.
  std::uint64_t bucket_size = 1;
  std::uint64_t bucket_seed = 0;
  /// bucketing: no permutation, buckets of neighbours in the order given. Then, and only then, the
  /// order of the inputs matters.
  bool bucket_order_is_given = false;
  /// clipping: the longest norm.
  double clip_norm = 2;

  bool operator==(const Recipe&) const = default;
};

/// A line of --list-rules.
struct RuleInfo {
  std::string_view name;
  bool is_pre = false;
  std::string_view definition;
  std::string_view cost;
  std::string_view condition;
  std::string_view source;
  std::string_view options;
};
/// Rules in the order of Rule, then pre-aggregations in the order of Pre.
std::span<const RuleInfo> rule_table();
std::string_view name_of(Rule rule);
std::string_view name_of(Pre pre);
/// Pre-aggregations and rule with '+' between them: "nnm+trimmed_mean"; as step records have it.
std::string names_of(const Recipe& recipe);
/// Errors: kInvalidArgument, listing the names that there are.
Result<Rule> rule_named(std::string_view name);
Result<Pre> pre_named(std::string_view name);

/// True for rules that look at each coordinate by itself.
bool is_coordinate_wise(Rule rule);
/// True if the rule or a pre-aggregation needs inner products of the inputs.
bool needs_geometry(const Recipe& recipe);
/// Multi-Krum's q; Krum's k of `count` vectors.
std::size_t multi_krum_q(const Recipe& recipe, std::size_t count);
std::size_t krum_neighbours(const Recipe& recipe, std::size_t count);

/// Errors: kInvalidArgument, saying the condition and the numbers, unless the recipe is defined for
/// this many inputs.
Status check_recipe(const Recipe& recipe, std::size_t input_count);

/// The numbers of inputs that a recipe is defined for: all from `least` to `most`.
struct InputCounts {
  std::size_t least = 0;
  std::size_t most = 0;
};
/// Errors: kInvalidArgument, as check_recipe(), if it is defined for none.
Result<InputCounts> counts_defined(const Recipe& recipe);

}  // namespace mh::model
