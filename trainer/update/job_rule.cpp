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

/// Pre-aggregations are names, or objects of one key with their numbers.
std::string aggregation_text(const Json& json, Reader reader) {
  std::string text;
  const auto pre = json.find("pre");
  if (pre != json.end() && pre->is_array()) {
    for (const Json& item : *pre) {
      const bool is_named = item.is_object() && item.size() == 1;
      if (!item.is_string() && !is_named) reader.complain("pre", "is no list of names");
      if (item.is_string()) text += item.get<std::string>() + "+";
      if (is_named) text += item.begin().key() + "+";
    }
  }
  return text + reader.text("rule");
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
  if (reader.has("aggregation")) {
    const Reader group = reader.group("aggregation");
    if (error.empty()) rule.aggregation = aggregation_text(json["aggregation"], group);
  }
  if (!error.empty()) return fail(Errc::kInvalidArgument, error);
  return rule;
}

}  // namespace mh::update
