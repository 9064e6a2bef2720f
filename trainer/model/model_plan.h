// A model fitted to a data set: the shape, parameters and cost of every layer, and the place of
// every parameter in the one flat fp32 vector that travels between server and trainers.
//
// Flow: ModelSpec (job file) + SampleInfo (data set) -> plan_model() -> server (first parameters,
// sizes), job check (table), trainer (modules). The trainer plans again from the same job and data
// set; `layout_digest` proves that both sides mean the same vector. Torch-free, pure; no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/model/model_spec.h"

namespace mh::model {

/// Most parameters a model may have (4 GiB of fp32), layers, and elements of one sample after any
/// layer.
inline constexpr std::int64_t kParameterCountMax = std::int64_t{1} << 30;
inline constexpr std::size_t kLayerCountMax = 1'000;
inline constexpr std::int64_t kActivationElementsMax = std::int64_t{1} << 28;
inline constexpr std::size_t kRankMax = 8;

/// What a model must know of a data set.
struct SampleInfo {
  /// Shape of one input; empty for a single number.
  Shape input_shape;
  /// True for whole-number inputs (u8, i32, i64), which an embedding may take.
  bool input_is_integer = false;
  /// Shape of one target; empty for a single number.
  Shape target_shape;
  /// True for whole-number targets, which cross entropy needs.
  bool target_is_integer = false;
  /// Number of classes; 0 when targets are not classes.
  std::int64_t class_count = 0;
};

/// How the first values of a parameter are made.
struct Initialisation {
  enum class Kind {
    kZeros,
    kOnes,
    /// Uniform in [-scale, scale).
    kUniform,
    /// Normal with mean 0 and standard deviation `scale`.
    kNormal,
  };
  Kind kind = Kind::kZeros;
  double scale = 0;

  bool operator==(const Initialisation&) const = default;
};

/// One parameter tensor.
struct ParameterSpec {
  /// "<layer name>.weight" or "<layer name>.bias": the names of torch.nn.Sequential's state_dict.
  std::string name;
  /// torch's native layout: linear [out, in], conv2d [out, in / groups, kernel, kernel], embedding
  /// [num, dim].
  Shape shape;
  /// First element in the flat vector, and number of elements.
  std::uint64_t offset = 0;
  std::uint64_t count = 0;
  Initialisation init;

  bool operator==(const ParameterSpec&) const = default;
};

/// One layer, with everything decided.
struct LayerPlan {
  /// Index in the model as text ("0", "1", …), so that a downloaded model loads into
  /// torch.nn.Sequential.
  std::string name;
  /// Kind in the registry: "conv2d".
  std::string kind;
  /// Every setting of the kind, now without exception (linear's `out` is filled in).
  Settings settings;
  /// Shape of one sample before and after.
  Shape input_shape;
  Shape output_shape;
  /// This layer's parameters are ModelPlan::parameters[first_parameter, first_parameter +
  /// parameter_tensors).
  std::size_t first_parameter = 0;
  std::size_t parameter_tensors = 0;
  /// Number of values in them.
  std::uint64_t parameter_count = 0;
  /// FLOPs of the forward computation for one sample; a multiply-add counts 2.
  double forward_flops = 0;
  /// Kind and settings in words: "conv2d 1→16 5×5".
  std::string description;

  /// Value of a setting. Requires: the kind has that setting, of that type (else MH_CHECK fails).
  std::int64_t integer(std::string_view setting) const;
  double real(std::string_view setting) const;
  bool flag(std::string_view setting) const;
  const std::string& text(std::string_view setting) const;
};

/// The whole model.
struct ModelPlan {
  Loss loss = Loss::kCrossEntropy;
  std::vector<LayerPlan> layers;
  /// Layer after layer, weight then bias; offsets are without gaps.
  std::vector<ParameterSpec> parameters;
  std::uint64_t parameter_count = 0;
  /// FLOPs of one sample: forward, and training (forward and backward: 3 × forward).
  double forward_flops = 0;
  double flops_per_sample = 0;
  /// Shape of one input and of the output.
  Shape input_shape;
  Shape output_shape;
  /// Shape of one target as the loss compares it: without the class dimension for cross_entropy,
  /// the output's for mse.
  Shape target_shape;
  /// Cross entropy: the number of classes (every target is below it). Mse: 0.
  std::int64_t class_count = 0;
  /// True when the first layer is an embedding: inputs are row numbers, each to be below
  /// `index_limit`, and are never normalised. Otherwise inputs are floats and `index_limit` is 0.
  bool input_is_index = false;
  std::int64_t index_limit = 0;
  /// SHA-256 of the text "manyhands-layout/1\n" and one line "<name> f32 <d0>x<d1>…\n" a parameter.
  /// Two plans with the same digest agree on the meaning of every element of the flat vector.
  Digest layout_digest;
};

/// Why a model cannot be: for people, with the place in the model.
struct ModelProblem {
  /// Layer that it belongs to; none for the model as a whole.
  std::optional<std::size_t> layer;
  /// Setting of that layer, or empty.
  std::string setting;
  /// What was found, what is allowed, what to do.
  std::string message;
};

/// Fits a model to a data set: shapes, parameters, costs. Checks everything again (kinds, settings,
/// ranges, sizes), so that a spec from an untrusted file needs no earlier check.
std::variant<ModelPlan, ModelProblem> try_plan_model(const ModelSpec& spec, const SampleInfo& info);

/// The same for callers without a file to point into. Errors: kInvalidArgument with layer, setting
/// and reason.
Result<ModelPlan> plan_model(const ModelSpec& spec, const SampleInfo& info);

/// The parameters of step 0: `plan.parameter_count` floats. The same bits on every machine: Philox
/// counters, keyed by (seed, index of the parameter tensor), and arithmetic that IEEE 754 defines
/// exactly (see initialisation.cpp). Requires: a plan made by plan_model().
std::vector<float> initial_parameters(const ModelPlan& plan, std::uint64_t seed);

/// Writes them into `out` instead. Requires: out.size() == plan.parameter_count.
void write_initial_parameters(const ModelPlan& plan, std::uint64_t seed, std::span<float> out);

}  // namespace mh::model
