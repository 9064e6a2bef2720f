// The section `aggregation` of a job file: a robust rule, what comes before it, who has a voice.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "scheduler/job_spec_reader.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

using model::Pre;
using model::Recipe;
using model::Rule;

constexpr double kNumberMax = 1e9;
constexpr std::uint64_t kGeometricMedianIterations = 3;
constexpr std::uint64_t kCenteredClippingIterations = 1;

std::string number(std::uint64_t value) { return model::grouped(static_cast<std::int64_t>(value)); }

/// Names of the rules, or of the pre-aggregations, in the order of their enumerators.
std::vector<std::string_view> names(bool is_pre) {
  std::vector<std::string_view> found;
  for (const model::RuleInfo& info : model::rule_table()) {
    if (info.is_pre == is_pre) found.push_back(info.name);
  }
  return found;
}

/// One item of `pre`: a word, or one word with settings.
void read_pre(ReadingState& state, const YamlNode& item, const std::string& path, Recipe& recipe) {
  const YamlNode* word = &item;
  const YamlNode* settings = nullptr;
  if (item.type == YamlNode::Type::kMap && item.keys.size() == 1) {
    word = &item.keys[0];
    settings = &item.items[0];
  } else if (item.type != YamlNode::Type::kScalar) {
    state.add(item.place, path,
              "is " + found_text(item) +
                  "; allowed: a pre-aggregation, as in nnm or {clipping: {norm: 2}}");
    return;
  }
  const auto known = names(true);
  const auto found = std::find(known.begin(), known.end(), word->text);
  if (found == known.end()) {
    state.add(
        word->place, path,
        "unknown pre-aggregation " + excerpt(word->text) + model::did_you_mean(word->text, known));
    return;
  }
  const Pre pre = static_cast<Pre>(found - known.begin());
  if (std::find(recipe.pre.begin(), recipe.pre.end(), pre) != recipe.pre.end()) {
    state.add(word->place, path, word->text + " stands here twice");
    return;
  }
  recipe.pre.push_back(pre);
  state.places[path] = word->place;
  Section section(state, settings, path);
  if (pre == Pre::kClipping) {
    const auto norm = section.real("norm", real_rule(0, kNumberMax, true));
    if (norm) recipe.clip_norm = *norm;
  } else if (pre == Pre::kBucketing) {
    const auto most = static_cast<std::int64_t>(model::kInputsMax);
    section.require("size", "vectors a bucket, an integer of at least 1");
    const auto size = section.integer("size", 1, most);
    if (size) recipe.bucket_size = static_cast<std::uint64_t>(*size);
  }
  section.finish();
}

void read_pres(Section& section, Recipe& recipe) {
  const YamlNode* list = section.find("pre");
  if (list == nullptr) return;
  if (list->type != YamlNode::Type::kSequence || list->items.size() > names(true).size()) {
    const std::string found = list->type == YamlNode::Type::kSequence
                                  ? "a list of " + std::to_string(list->items.size())
                                  : found_text(*list);
    section.problem("pre", "is " + found + "; allowed: a list of up to " +
                               std::to_string(names(true).size()) +
                               " pre-aggregations, for example [nnm]");
    return;
  }
  for (std::size_t i = 0; i < list->items.size(); ++i) {
    read_pre(section.state(), list->items[i],
             section.path_of("pre") + "[" + std::to_string(i) + "]", recipe);
  }
}

/// Reports a key that stands in the file but means nothing to the rule.
void refuse_unless(bool belongs, Section& section, std::string_view key, std::string_view owners,
                   Rule rule) {
  if (belongs) return;
  section.refuse(key, "belongs to " + std::string(owners) + "; here the rule is " +
                          std::string(model::name_of(rule)));
}

/// Numbers that only some rules have.
void read_rule_numbers(Section& section, Recipe& recipe) {
  static constexpr std::array<std::string_view, 2> kConventions = {"byzfl", "paper"};
  const Rule rule = recipe.rule;
  const bool is_krum = rule == Rule::kKrum || rule == Rule::kMultiKrum;
  const bool is_geometric = rule == Rule::kGeometricMedian;
  const bool is_centered = rule == Rule::kCenteredClipping;
  const auto convention = section.choice("convention", kConventions);
  if (convention) recipe.convention = static_cast<model::Convention>(*convention);
  const auto q = section.integer("q", 1, static_cast<std::int64_t>(model::kInputsMax));
  if (q) recipe.q = static_cast<std::uint64_t>(*q);
  const auto nu = section.real("nu", real_rule(0, kNumberMax, true));
  if (nu) recipe.nu = *nu;
  const auto tau = section.real("tau", real_rule(0, kNumberMax, true));
  if (tau) recipe.tau = *tau;
  const auto iterations =
      section.integer("iterations", 1, static_cast<std::int64_t>(model::kIterationsMax));
  refuse_unless(is_krum, section, "convention", "krum and multi_krum", rule);
  refuse_unless(rule == Rule::kMultiKrum, section, "q", "multi_krum", rule);
  refuse_unless(is_geometric, section, "nu", "geometric_median", rule);
  refuse_unless(is_centered, section, "tau", "centered_clipping", rule);
  refuse_unless(is_geometric || is_centered, section, "iterations",
                "geometric_median and centered_clipping", rule);
  if (!is_geometric && !is_centered) return;
  recipe.iterations = is_geometric ? kGeometricMedianIterations : kCenteredClippingIterations;
  if (iterations) recipe.iterations = static_cast<std::uint64_t>(*iterations);
}

/// A step must have enough workunits for the rule, and no more than it takes.
void check_counts(Section& section, const JobSpec& spec) {
  const AggregationSpec& aggregation = spec.aggregation;
  const std::uint64_t shards = spec.training.batch / spec.training.shard;
  const bool is_host = aggregation.unit == AggregationUnit::kHost;
  const auto counts = model::counts_defined(aggregation.recipe);
  if (!counts) {
    section.problem("rule", counts.error().message);
  } else if (shards < counts->least) {
    const auto status = model::check_recipe(aggregation.recipe, shards);
    section.problem("rule", "is " + std::string(model::name_of(aggregation.recipe.rule)) +
                                ", which needs at least " + number(counts->least) +
                                (is_host ? " hosts" : " shards") + " in each step (" +
                                (status ? std::string() : status.error().message) +
                                "), but a step has " + number(shards) +
                                " workunits (batch / shard); make the shard or f smaller");
  } else if (shards > counts->most) {
    section.problem("rule", "is " + std::string(model::name_of(aggregation.recipe.rule)) +
                                ", which takes at most " + number(counts->most) +
                                " vectors, but a step has " + number(shards) +
                                " workunits (batch / shard)" +
                                (is_host ? ", and each may be of another host" : "") +
                                "; make the shard larger");
  }
}

}  // namespace

void read_aggregation(Section& root, JobSpec& spec) {
  static constexpr std::array<std::string_view, 2> kUnits = {"host", "shard"};
  if (!root.has("aggregation")) return;
  const std::size_t problems_before = root.state().problems.size();
  Section section = root.group("aggregation");
  AggregationSpec& aggregation = spec.aggregation;
  Recipe& recipe = aggregation.recipe;
  const auto rule = section.choice("rule", names(false));
  if (rule) recipe.rule = static_cast<Rule>(*rule);
  const auto f = section.integer("f", 0, static_cast<std::int64_t>(model::kInputsMax));
  if (f) recipe.f = static_cast<std::uint64_t>(*f);
  read_pres(section, recipe);
  const auto unit = section.choice("unit", kUnits);
  if (unit) aggregation.unit = static_cast<AggregationUnit>(*unit);
  read_rule_numbers(section, recipe);
  section.finish();
  if (root.state().problems.size() > problems_before) return;
  if (aggregation.is_exact_mean()) {
    for (const std::string_view key : {"f", "unit"}) {
      section.refuse(key,
                     "means nothing to the mean over all samples; name another rule, or "
                     "something in pre");
    }
    aggregation = {};
    return;
  }
  // Only where batch and shard are known to fit each other.
  if (spec.training.shard > 0 && spec.training.batch % spec.training.shard == 0) {
    check_counts(section, spec);
  }
}

std::uint64_t hosts_needed(const AggregationSpec& aggregation) {
  if (aggregation.is_exact_mean() || aggregation.unit == AggregationUnit::kShard) return 1;
  const auto counts = model::counts_defined(aggregation.recipe);
  return counts ? counts->least : model::kInputsMax;
}

}  // namespace mh::scheduler
