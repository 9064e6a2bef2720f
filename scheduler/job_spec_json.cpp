// canonical_job_json(): a job as the bytes that name it. See job_spec.h.
//
// Written by hand rather than by a JSON library, because these bytes are hashed: the order of the
// keys and the digits of a number are ours. Numbers are the shortest that read back as the same.
#include <concepts>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "scheduler/job_spec.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

std::string text_json(std::string_view text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Adding 0 makes a negative zero, which equals zero, look like it too.
std::string value_json(double value) { return model::number_text(value + 0.0); }
std::string value_json(bool value) { return value ? "true" : "false"; }
std::string value_json(std::unsigned_integral auto value) { return std::to_string(value); }
std::string value_json(std::int64_t value) { return std::to_string(value); }
std::string value_json(std::string_view value) { return text_json(value); }
std::string value_json(const std::string& value) { return text_json(value); }

/// An object, key by key.
class ObjectWriter {
 public:
  template <class T>
  ObjectWriter& add(std::string_view key, const T& value) {
    return add_raw(key, value_json(value));
  }
  ObjectWriter& add_raw(std::string_view key, const std::string& json) {
    text_ += (text_.size() > 1 ? "," : "") + text_json(key) + ":" + json;
    return *this;
  }
  std::string text() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

std::string layer_json(const model::LayerSpec& layer) {
  if (layer.settings.empty()) return text_json(layer.kind);
  ObjectWriter settings;
  for (const auto& [name, value] : layer.settings) {
    std::visit([&](const auto& held) { settings.add(name, held); }, value);
  }
  return ObjectWriter().add_raw(layer.kind, settings.text()).text();
}

std::string model_json(const model::ModelSpec& model) {
  std::string layers = "[";
  for (const model::LayerSpec& layer : model.layers) {
    layers += (layers.size() > 1 ? "," : "") + layer_json(layer);
  }
  return ObjectWriter().add_raw("layers", layers + "]").text();
}

std::string training_json(const model::TrainingSpec& training) {
  ObjectWriter object;
  if (training.steps) object.add("steps", *training.steps);
  if (training.passes) object.add("passes", *training.passes);
  object.add("batch", training.batch).add("shard", training.shard);
  return object.add("micro_batch", training.micro_batch).text();
}

std::string optimizer_json(const model::OptimizerSpec& optimizer) {
  ObjectWriter object;
  object.add("kind", model::optimizer_name(optimizer.kind));
  object.add("learning_rate", optimizer.learning_rate);
  object.add("weight_decay", optimizer.weight_decay);
  if (optimizer.kind == model::OptimizerKind::kSgd) {
    object.add("momentum", optimizer.momentum).add("nesterov", optimizer.nesterov);
  } else {
    object.add("beta1", optimizer.beta1).add("beta2", optimizer.beta2);
    object.add("epsilon", optimizer.epsilon);
  }
  return object.text();
}

std::string schedule_json(const model::ScheduleSpec& schedule) {
  ObjectWriter object;
  object.add("kind", model::schedule_name(schedule.kind));
  object.add("warmup_steps", schedule.warmup_steps);
  if (schedule.kind == model::ScheduleKind::kStep) {
    object.add("every_steps", schedule.every_steps).add("factor", schedule.factor);
  } else if (schedule.kind == model::ScheduleKind::kCosine) {
    object.add("final_factor", schedule.final_factor);
  }
  return object.text();
}

std::string pre_json(const model::Recipe& recipe) {
  std::string list = "[";
  for (const model::Pre pre : recipe.pre) {
    ObjectWriter settings;
    if (pre == model::Pre::kClipping) settings.add("norm", recipe.clip_norm);
    if (pre == model::Pre::kBucketing) settings.add("size", recipe.bucket_size);
    const bool has_settings = pre == model::Pre::kClipping || pre == model::Pre::kBucketing;
    const std::string_view name = model::name_of(pre);
    list += list.size() > 1 ? "," : "";
    list += has_settings ? ObjectWriter().add_raw(name, settings.text()).text() : text_json(name);
  }
  return list + "]";
}

std::string aggregation_json(const AggregationSpec& aggregation) {
  const model::Recipe& recipe = aggregation.recipe;
  const bool is_multi = recipe.rule == model::Rule::kMultiKrum;
  ObjectWriter object;
  object.add("rule", model::name_of(recipe.rule)).add("f", recipe.f);
  object.add_raw("pre", pre_json(recipe));
  object.add("unit",
             std::string_view(aggregation.unit == AggregationUnit::kHost ? "host" : "shard"));
  if (is_multi || recipe.rule == model::Rule::kKrum) {
    const bool is_paper = recipe.convention == model::Convention::kPaper;
    object.add("convention", std::string_view(is_paper ? "paper" : "byzfl"));
  }
  if (is_multi && recipe.q) object.add("q", *recipe.q);
  if (recipe.rule == model::Rule::kGeometricMedian) object.add("nu", recipe.nu);
  if (recipe.rule == model::Rule::kCenteredClipping) object.add("tau", recipe.tau);
  if (recipe.iterations) object.add("iterations", *recipe.iterations);
  return object.text();
}

std::string evaluation_json(const EvaluationSpec& evaluation) {
  ObjectWriter object;
  object.add("split", evaluation.split).add("every_steps", evaluation.every_steps);
  return object.add("shard", evaluation.shard).text();
}

std::string validation_json(const ValidationPolicy& policy) {
  ObjectWriter object;
  object.add("mode", mode_word(policy.mode));
  object.add("quorum", policy.quorum).add("check_share", policy.check_share_min);
  object.add("homogeneous", policy.is_homogeneous);
  object.add("relative_l2", policy.relative_l2_max);
  return object.add("one_minus_cosine", policy.one_minus_cosine_max).text();
}

}  // namespace

std::string canonical_job_json(const JobSpec& spec, const Digest& manifest) {
  ObjectWriter object;
  object.add("format", std::string_view("manyhands-job/1"));
  object.add("name", spec.name).add("dataset", spec.dataset).add("manifest", manifest.hex());
  object.add("mode", std::string_view("gradient")).add("seed", spec.seed);
  object.add_raw("model", model_json(spec.model));
  object.add("loss", model::loss_name(spec.model.loss));
  object.add_raw("training", training_json(spec.training));
  object.add_raw("optimizer", optimizer_json(spec.optimizer));
  object.add_raw("schedule", schedule_json(spec.schedule));
  object.add("clip_norm", spec.clip_norm);
  // Left away where it is the default, so that jobs of before these keys keep their digests.
  if (!spec.aggregation.is_exact_mean()) {
    object.add_raw("aggregation", aggregation_json(spec.aggregation));
  }
  if (spec.evaluation) object.add_raw("evaluation", evaluation_json(*spec.evaluation));
  // Left out where usual, so that the bytes of jobs of before stay theirs.
  if (spec.validation != kUsualValidation) {
    object.add_raw("validation", validation_json(spec.validation));
  }
  object.add("normalize", spec.normalize);
  object.add("priority", spec.priority).add("threads", spec.threads);
  if (spec.numerics == Numerics::kPinned) object.add("numerics", std::string_view("pinned"));
  return object.text();
}

}  // namespace mh::scheduler
