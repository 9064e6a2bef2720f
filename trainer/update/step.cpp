// One step; see step.h.
#include "trainer/update/step.h"

#include <cmath>
#include <string>

#include "trainer/update/aggregate.h"
#include "trainer/update/optimizer.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {

Result<StepOutcome> take_step(const StepRule& rule, std::uint64_t step, std::span<float> gradient,
                              std::span<float> parameters, std::span<float> state) {
  const std::string name = "step " + std::to_string(step);
  StepOutcome outcome;
  outcome.gradient_norm = clip_by_global_norm(gradient, rule.clip_norm);
  if (!std::isfinite(outcome.gradient_norm)) {
    return fail(Errc::kOutOfRange, name + ": the mean gradient is not finite");
  }
  outcome.learning_rate =
      learning_rate_at(rule.schedule, rule.optimizer.learning_rate, step, rule.step_count);
  step_parameters(parameters, gradient, state, rule.optimizer, outcome.learning_rate, step);
  if (!std::isfinite(sum_of_squares(parameters)) || !std::isfinite(sum_of_squares(state))) {
    return fail(Errc::kOutOfRange, name + ": the new parameters are not finite (gradient norm " +
                                       std::to_string(outcome.gradient_norm) + ", learning rate " +
                                       std::to_string(outcome.learning_rate) +
                                       "); lower optimizer.learning_rate or set clip_norm");
  }
  return outcome;
}

}  // namespace mh::update
