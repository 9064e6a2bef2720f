// See job_rule.h.
#include "trainer/update/job_rule.h"

#include <array>
#include <nlohmann/json.hpp>

#include "proto/base/strict_json.h"

namespace mh::update {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 16;
constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 53;

/// Takes values by key and keeps the first error; after one, answers are empty.
class Reader {
 public:
  Reader(const Json& object, std::string path, std::string& error)
      : object_(object), path_(std::move(path)), error_(error) {}

  bool has(const char* key) const { return object_.contains(key); }
  std::uint64_t number(const char* key, std::uint64_t least = 0) {
    const Json* value = find(key);
    if (value == nullptr) return least;
    const bool fits = value->is_number_unsigned() && value->get<std::uint64_t>() >= least &&
                      value->get<std::uint64_t>() <= kNumberMax;
    if (!fits) complain(key, "is no whole number from " + std::to_string(least));
    return fits ? value->get<std::uint64_t>() : least;
  }
  double real(const char* key) {
    const Json* value = find(key);
    if (value != nullptr && value->is_number()) return value->get<double>();
    if (value != nullptr) complain(key, "is no number");
    return 0;
  }
  bool flag(const char* key) {
    const Json* value = find(key);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    if (value != nullptr) complain(key, "is neither true nor false");
    return false;
  }
  std::string text(const char* key) {
    const Json* value = find(key);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    if (value != nullptr) complain(key, "is no text");
    return {};
  }
  Reader group(const char* key) {
    static const Json kEmpty = Json::object();
    const Json* value = find(key);
    if (value != nullptr && !value->is_object()) complain(key, "is no object");
    const bool is_there = value != nullptr && value->is_object();
    return Reader(is_there ? *value : kEmpty, path_ + key + ".", error_);
  }
  const Json& list(const char* key) {
    static const Json kEmpty = Json::array();
    const Json* value = find(key);
    if (value != nullptr && value->is_array()) return *value;
    if (value != nullptr) complain(key, "is no list");
    return kEmpty;
  }
  /// Of an object that stands in the list at a key.
  Reader inside(const Json& object, const std::string& key) const {
    return {object, path_ + key + ".", error_};
  }
  void complain(const char* key, const std::string& what) {
    if (error_.empty()) error_ = path_ + key + " " + what;
  }

 private:
  const Json* find(const char* key) {
    if (!error_.empty()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    complain(key, "is missing");
    return nullptr;
  }

  const Json& object_;
  const std::string path_;
  std::string& error_;
};

/// The value whose name stands at a key.
template <class Kind, std::size_t kCount>
Kind named(Reader& reader, const char* key, const std::array<Kind, kCount>& kinds,
           std::string_view (*name_of)(Kind)) {
  const std::string name = reader.text(key);
  for (const Kind kind : kinds) {
    if (name_of(kind) == name) return kind;
  }
  reader.complain(key, "is not known here");
  return kinds.front();
}

void read_training(Reader reader, model::TrainingSpec& training) {
  if (reader.has("steps")) training.steps = reader.number("steps", 1);
  if (reader.has("passes")) training.passes = reader.real("passes");
  if (training.steps.has_value() == training.passes.has_value())
    reader.complain("steps", "or passes must be there, and not both");
  training.batch = reader.number("batch", 1);
  training.shard = reader.number("shard", 1);
  training.micro_batch = reader.number("micro_batch", 1);
}

void read_optimizer(Reader reader, model::OptimizerSpec& optimizer) {
  using model::OptimizerKind;
  constexpr std::array kKinds{OptimizerKind::kSgd, OptimizerKind::kAdam, OptimizerKind::kAdamW};
  optimizer.kind = named(reader, "kind", kKinds, model::optimizer_name);
  optimizer.learning_rate = reader.real("learning_rate");
  optimizer.weight_decay = reader.real("weight_decay");
  if (optimizer.kind == OptimizerKind::kSgd) {
    optimizer.momentum = reader.real("momentum");
    optimizer.nesterov = reader.flag("nesterov");
    return;
  }
  optimizer.beta1 = reader.real("beta1");
  optimizer.beta2 = reader.real("beta2");
  optimizer.epsilon = reader.real("epsilon");
}

void read_schedule(Reader reader, model::ScheduleSpec& schedule) {
  using model::ScheduleKind;
  constexpr std::array kKinds{ScheduleKind::kConstant, ScheduleKind::kStep, ScheduleKind::kCosine};
  schedule.kind = named(reader, "kind", kKinds, model::schedule_name);
  schedule.warmup_steps = reader.number("warmup_steps");
  if (schedule.kind == ScheduleKind::kStep) {
    schedule.every_steps = reader.number("every_steps", 1);
    schedule.factor = reader.real("factor");
  } else if (schedule.kind == ScheduleKind::kCosine) {
    schedule.final_factor = reader.real("final_factor");
  }
}

/// A pre-aggregation is its name, or an object of one key: its name and its numbers.
void read_pre(Reader& list, const Json& item, model::Recipe& recipe) {
  const bool has_numbers = item.is_object() && item.size() == 1;
  std::string name;
  if (item.is_string()) name = item.get<std::string>();
  if (has_numbers) name = item.begin().key();
  const auto pre = model::pre_named(name);
  if (!pre) return list.complain("pre", "is no list of pre-aggregations that are known here");
  recipe.pre.push_back(*pre);
  if (*pre != model::Pre::kClipping && *pre != model::Pre::kBucketing) return;
  if (!has_numbers) return list.complain("pre", "has " + name + " without its numbers");
  Reader numbers = list.inside(item, "pre").group(name.c_str());
  if (*pre == model::Pre::kClipping) recipe.clip_norm = numbers.real("norm");
  if (*pre == model::Pre::kBucketing) recipe.bucket_size = numbers.number("size", 1);
}

void read_aggregation(Reader reader, JobRule& job) {
  using model::Rule;
  model::Recipe& recipe = job.recipe;
  const auto rule = model::rule_named(reader.text("rule"));
  if (!rule) return reader.complain("rule", "is not known here");
  recipe.rule = *rule;
  recipe.f = reader.number("f");
  for (const Json& item : reader.list("pre")) read_pre(reader, item, recipe);
  const std::string unit = reader.text("unit");
  if (unit != "host" && unit != "shard") reader.complain("unit", "is neither host nor shard");
  job.unit = unit == "shard" ? VoiceUnit::kShard : VoiceUnit::kHost;
  const bool is_multi = recipe.rule == Rule::kMultiKrum;
  if (is_multi || recipe.rule == Rule::kKrum) {
    const std::string convention = reader.text("convention");
    if (convention != "byzfl" && convention != "paper")
      reader.complain("convention", "is neither byzfl nor paper");
    if (convention == "paper") recipe.convention = model::Convention::kPaper;
  }
  if (is_multi && reader.has("q")) recipe.q = reader.number("q", 1);
  if (recipe.rule == Rule::kGeometricMedian) recipe.nu = reader.real("nu");
  if (recipe.rule == Rule::kCenteredClipping) recipe.tau = reader.real("tau");
  const bool is_iterated =
      recipe.rule == Rule::kGeometricMedian || recipe.rule == Rule::kCenteredClipping;
  if (is_iterated) recipe.iterations = reader.number("iterations", 1);
}

}  // namespace

Result<JobRule> read_job_rule(std::string_view canonical_json) {
  Json json;
  MH_TRY_VOID(parse_strict_json(canonical_json, kJobRuleBytesMax, kDepthMax, json));
  if (!json.is_object()) return fail(Errc::kInvalidArgument, "is no object");
  std::string error;
  Reader reader(json, "", error);
  JobRule rule;
  if (reader.text("format") != "manyhands-job/1")
    reader.complain("format", "is not manyhands-job/1");
  rule.name = reader.text("name");
  const auto manifest = Digest::from_hex(reader.text("manifest"));
  if (manifest) rule.manifest = *manifest;
  if (!manifest) reader.complain("manifest", "is no SHA-256 in hex");
  if (reader.text("mode") != "gradient") reader.complain("mode", "is not gradient");
  read_training(reader.group("training"), rule.training);
  read_optimizer(reader.group("optimizer"), rule.step.optimizer);
  read_schedule(reader.group("schedule"), rule.step.schedule);
  rule.step.clip_norm = reader.real("clip_norm");
  rule.seed = reader.number("seed");
  if (reader.has("aggregation")) read_aggregation(reader.group("aggregation"), rule);
  if (!rule.is_exact_mean() && rule.training.batch / rule.training.shard > model::kInputsMax)
    reader.complain("training", "cuts a step into more than " + std::to_string(model::kInputsMax) +
                                    " shards, too many for its aggregation");
  if (!error.empty()) return fail(Errc::kInvalidArgument, error);
  return rule;
}

}  // namespace mh::update
