// Fits a model to a data set; see model_plan.h.
#include "trainer/model/model_plan.h"

#include <utility>

#include "proto/base/check.h"
#include "trainer/model/layer_kind.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

/// Product of the sizes, or nothing if it exceeds `limit`, the rank is too large or a size is not
/// positive.
std::optional<std::int64_t> bounded_count(const Shape& shape, std::int64_t limit) {
  if (shape.size() > kRankMax) return std::nullopt;
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 1 || size > limit / count) return std::nullopt;
    count *= size;
  }
  return count;
}

/// What went wrong, if anything.
using Check = std::optional<ModelProblem>;

/// Builds a plan layer by layer.
class Planner {
 public:
  Planner(const ModelSpec& spec, const SampleInfo& info) : spec_(spec), info_(info) {}

  std::variant<ModelPlan, ModelProblem> run();

 private:
  Check check_input() const;
  Check check_targets() const;
  Check add_layer(std::size_t index);
  Check add_parameters(std::size_t index, const LayerOutline& outline, LayerPlan& layer);
  Check check_output();
  std::optional<std::int64_t> wanted_last_size() const;
  void finish();

  const ModelSpec& spec_;
  const SampleInfo& info_;
  ModelPlan plan_;
};

ModelProblem of_layer(std::size_t index, std::string_view kind, std::string setting,
                      const std::string& what) {
  // With a setting the path names it, the text need not.
  std::string text = "layer " + std::to_string(index) + " (" + std::string(kind) + "): ";
  if (!setting.empty()) text += setting + " ";
  return {index, std::move(setting), text + what};
}

Check Planner::check_input() const {
  if (spec_.layers.empty())
    return ModelProblem{{}, "", "has no layers; a model needs at least one"};
  if (spec_.layers.size() > kLayerCountMax) {
    return ModelProblem{{},
                        "",
                        "has " + grouped(static_cast<std::int64_t>(spec_.layers.size())) +
                            " layers; at most " + grouped(kLayerCountMax)};
  }
  if (!bounded_count(info_.input_shape, kActivationElementsMax)) {
    return ModelProblem{{},
                        "",
                        "cannot take the data set's inputs: shape " +
                            shape_text(info_.input_shape) + " is not allowed (rank at most " +
                            std::to_string(kRankMax) + ", at most " +
                            grouped(kActivationElementsMax) + " elements, none of size 0)"};
  }
  return std::nullopt;
}

Check Planner::check_targets() const {
  if (!bounded_count(info_.target_shape, kActivationElementsMax)) {
    return ModelProblem{{},
                        "",
                        "cannot take the data set's targets: shape " +
                            shape_text(info_.target_shape) + " is not allowed"};
  }
  if (spec_.loss != Loss::kCrossEntropy) return std::nullopt;
  if (!info_.target_is_integer || info_.class_count < 1) {
    return ModelProblem{{},
                        "",
                        "has loss cross_entropy, which needs class numbers as targets; the "
                        "data set's targets are not classes (use loss: mse, or import the "
                        "targets as integers)"};
  }
  return std::nullopt;
}

std::optional<std::int64_t> Planner::wanted_last_size() const {
  if (spec_.loss == Loss::kCrossEntropy) return info_.class_count;
  return info_.target_shape.empty() ? 1 : info_.target_shape.back();
}

Check Planner::add_layer(std::size_t index) {
  const LayerSpec& spec = spec_.layers[index];
  const LayerKind* kind = find_layer_kind(spec.kind);
  if (kind == nullptr) {
    return ModelProblem{index, "",
                        "layer " + std::to_string(index) + ": unknown kind '" + spec.kind + "'" +
                            did_you_mean(spec.kind, layer_kind_names())};
  }
  Settings settings = spec.settings;
  fill_defaults(*kind, settings);
  if (const auto problems = check_settings(*kind, settings); !problems.empty()) {
    return of_layer(index, spec.kind, problems[0].setting, problems[0].message);
  }
  LayerPosition position;
  position.input_shape = index == 0 ? info_.input_shape : plan_.layers.back().output_shape;
  position.is_first = index == 0;
  position.is_input_integer = info_.input_is_integer;
  if (index + 1 == spec_.layers.size()) position.wanted_last_size = wanted_last_size();

  auto fitted = kind->fit(settings, position);
  if (auto* problem = std::get_if<LayerProblem>(&fitted)) {
    return of_layer(index, spec.kind, std::move(problem->setting), problem->message);
  }
  auto& outline = std::get<LayerOutline>(fitted);
  if (!bounded_count(outline.output_shape, kActivationElementsMax)) {
    return of_layer(index, spec.kind, "",
                    "its output of " + shape_text(outline.output_shape) +
                        " is too large; at most " + grouped(kActivationElementsMax) +
                        " elements a sample, rank at most " + std::to_string(kRankMax));
  }
  for (auto& [name, value] : outline.found_settings) settings[name] = std::move(value);

  LayerPlan layer;
  layer.name = std::to_string(index);
  layer.kind = spec.kind;
  layer.settings = std::move(settings);
  layer.input_shape = std::move(position.input_shape);
  layer.output_shape = outline.output_shape;
  layer.forward_flops = outline.forward_flops;
  layer.description = outline.description;
  if (auto problem = add_parameters(index, outline, layer)) return problem;
  plan_.layers.push_back(std::move(layer));
  return std::nullopt;
}

Check Planner::add_parameters(std::size_t index, const LayerOutline& outline, LayerPlan& layer) {
  layer.first_parameter = plan_.parameters.size();
  layer.parameter_tensors = outline.parameters.size();
  for (const ParameterRule& rule : outline.parameters) {
    const std::int64_t room = kParameterCountMax - static_cast<std::int64_t>(plan_.parameter_count);
    const auto count = bounded_count(rule.shape, kParameterCountMax);
    if (!count || *count > room) {
      return of_layer(index, layer.kind, "",
                      "its " + std::string(rule.suffix) + " of " + shape_text(rule.shape) +
                          " makes the model too large; at most " + grouped(kParameterCountMax) +
                          " parameters");
    }
    ParameterSpec parameter;
    parameter.name = layer.name + "." + std::string(rule.suffix);
    parameter.shape = rule.shape;
    parameter.offset = plan_.parameter_count;
    parameter.count = static_cast<std::uint64_t>(*count);
    parameter.init = rule.init;
    plan_.parameter_count += parameter.count;
    layer.parameter_count += parameter.count;
    plan_.parameters.push_back(std::move(parameter));
  }
  return std::nullopt;
}

Check Planner::check_output() {
  const LayerPlan& last = plan_.layers.back();
  const std::size_t index = plan_.layers.size() - 1;
  Shape wanted = info_.target_shape;
  if (spec_.loss == Loss::kCrossEntropy) {
    wanted.push_back(info_.class_count);
    plan_.target_shape = info_.target_shape;
    plan_.class_count = info_.class_count;
  } else {
    // One number may be written as a scalar or as a list of one.
    if (wanted.empty()) wanted = {1};
    plan_.target_shape = wanted;
  }
  if (last.output_shape == wanted) return std::nullopt;
  std::string advice = "; end with a linear layer without `out`, which takes the right size";
  if (last.output_shape.size() > wanted.size()) advice = "; flatten before the last linear layer";
  return of_layer(index, last.kind, "",
                  "the model's output is " + shape_text(last.output_shape) + ", but " +
                      std::string(loss_name(spec_.loss)) + " on this data set needs " +
                      shape_text(wanted) + advice);
}

void Planner::finish() {
  plan_.loss = spec_.loss;
  plan_.input_shape = info_.input_shape;
  plan_.output_shape = plan_.layers.back().output_shape;
  for (const LayerPlan& layer : plan_.layers) plan_.forward_flops += layer.forward_flops;
  // Backward computes two products for each one of forward: by the input and by the weight.
  plan_.flops_per_sample = 3 * plan_.forward_flops;
  if (plan_.layers.front().kind == "embedding") {
    plan_.input_is_index = true;
    plan_.index_limit = plan_.layers.front().integer("num");
  }
  std::string layout = "manyhands-layout/1\n";
  for (const ParameterSpec& parameter : plan_.parameters) {
    layout += parameter.name + " f32 ";
    for (std::size_t i = 0; i < parameter.shape.size(); ++i) {
      layout += (i == 0 ? "" : "x") + std::to_string(parameter.shape[i]);
    }
    layout += "\n";
  }
  plan_.layout_digest = sha256(layout);
}

std::variant<ModelPlan, ModelProblem> Planner::run() {
  if (auto problem = check_input()) return std::move(*problem);
  if (auto problem = check_targets()) return std::move(*problem);
  for (std::size_t index = 0; index < spec_.layers.size(); ++index) {
    if (auto problem = add_layer(index)) return std::move(*problem);
  }
  if (auto problem = check_output()) return std::move(*problem);
  if (plan_.parameter_count == 0) {
    return ModelProblem{{}, "", "has no parameters to train; add a linear or conv2d layer"};
  }
  finish();
  return std::move(plan_);
}

}  // namespace

std::int64_t LayerPlan::integer(std::string_view setting) const {
  return integer_setting(settings, setting);
}
double LayerPlan::real(std::string_view setting) const { return real_setting(settings, setting); }
bool LayerPlan::flag(std::string_view setting) const { return flag_setting(settings, setting); }
const std::string& LayerPlan::text(std::string_view setting) const {
  return text_setting(settings, setting);
}

std::variant<ModelPlan, ModelProblem> try_plan_model(const ModelSpec& spec,
                                                     const SampleInfo& info) {
  return Planner(spec, info).run();
}

Result<ModelPlan> plan_model(const ModelSpec& spec, const SampleInfo& info) {
  auto outcome = try_plan_model(spec, info);
  if (auto* problem = std::get_if<ModelProblem>(&outcome)) {
    return fail(Errc::kInvalidArgument, "model: " + problem->message);
  }
  return std::move(std::get<ModelPlan>(outcome));
}

}  // namespace mh::model
