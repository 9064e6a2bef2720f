// What a researcher asks for: a list of layers with their settings, and a loss. Nothing is computed
// here.
//
// Flow: scheduler/job_spec reads it from the job file (presets already expanded) -> plan_model()
// (model_plan.h) gives it shapes and parameters for a data set. Torch-free plain values; no
// threads.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mh::model {

/// Shape of one sample, without the batch dimension. Every size is at least 1; an empty shape is a
/// single number.
using Shape = std::vector<std::int64_t>;

/// "28×28", "16×12×12", "scalar".
std::string shape_text(const Shape& shape);

/// Value of one setting of a layer.
using SettingValue = std::variant<bool, std::int64_t, double, std::string>;
/// Settings by name; sorted, so that walking them is deterministic.
using Settings = std::map<std::string, SettingValue, std::less<>>;

/// One layer of a model file.
struct LayerSpec {
  /// Name of a LayerKind of the registry: "conv2d".
  std::string kind;
  /// Every setting of the kind; only those without a default may be missing (linear's `out` in the
  /// last layer).
  Settings settings;

  bool operator==(const LayerSpec&) const = default;
};

/// How an output is judged.
enum class Loss {
  /// Targets are class numbers; the output's last dimension holds one logit a class.
  /// "cross_entropy".
  kCrossEntropy,
  /// Targets are numbers in the shape of the output; mean of the squared differences. "mse".
  kMeanSquaredError,
};

/// "cross_entropy" or "mse".
std::string_view loss_name(Loss loss);

/// Layers in the order of computation, and the loss of the last one's output.
struct ModelSpec {
  std::vector<LayerSpec> layers;
  Loss loss = Loss::kCrossEntropy;

  bool operator==(const ModelSpec&) const = default;
};

}  // namespace mh::model
