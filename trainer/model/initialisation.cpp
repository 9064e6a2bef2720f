// The first values of parameters, the same bits on every machine.
//
// Element e of parameter tensor i is a function of (job seed, i, e) alone: Philox, keyed by
// derive_key(seed, "first"), stream i. Uniform and normal deviates come from deviates.h, which uses
// only operations that IEEE 754 rounds exactly. Scales (1 / sqrt(fan_in), …) keep to the same
// operations.
#include <algorithm>

#include "proto/base/check.h"
#include "proto/base/random.h"
#include "trainer/model/deviates.h"
#include "trainer/model/model_plan.h"

namespace mh::model {
namespace {

/// "first": keeps this key apart from those of shuffles and dropout masks.
constexpr std::uint64_t kFirstValues = 0x7473'7269'66ULL;

}  // namespace

void write_initial_parameters(const ModelPlan& plan, std::uint64_t seed, std::span<float> out) {
  MH_CHECK(out.size() == plan.parameter_count);
  const std::uint64_t key = derive_key(seed, kFirstValues);
  for (std::size_t index = 0; index < plan.parameters.size(); ++index) {
    const ParameterSpec& parameter = plan.parameters[index];
    const auto values = out.subspan(parameter.offset, parameter.count);
    const auto scale = static_cast<float>(parameter.init.scale);
    switch (parameter.init.kind) {
      case Initialisation::Kind::kZeros:
        std::fill(values.begin(), values.end(), 0.0F);
        break;
      case Initialisation::Kind::kOnes:
        std::fill(values.begin(), values.end(), 1.0F);
        break;
      case Initialisation::Kind::kUniform:
        fill_uniform(values, key, index, scale);
        break;
      case Initialisation::Kind::kNormal:
        fill_normal(values, key, index, scale);
        break;
    }
  }
}

std::vector<float> initial_parameters(const ModelPlan& plan, std::uint64_t seed) {
  std::vector<float> values(plan.parameter_count);
  write_initial_parameters(plan, seed, values);
  return values;
}

}  // namespace mh::model
