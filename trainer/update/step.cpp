// One step; see step.h.
#include "trainer/update/step.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include "trainer/update/aggregate.h"
#include "trainer/update/optimizer.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {

Result<StepOutcome> take_step(const StepRule& rule, std::uint64_t step, std::span<float> gradient,
                              std::span<float> parameters, std::span<float> state) {
  StepOutcome outcome;
  outcome.gradient_norm = clip_by_global_norm(gradient, rule.clip_norm);
  if (!std::isfinite(outcome.gradient_norm)) {
    return fail(Errc::kOutOfRange, "the mean gradient is not finite");
  }
  outcome.learning_rate =
      learning_rate_at(rule.schedule, rule.optimizer.learning_rate, step, rule.step_count);
  step_parameters(parameters, gradient, state, rule.optimizer, outcome.learning_rate, step);
  if (!std::isfinite(sum_of_squares(parameters)) || !std::isfinite(sum_of_squares(state))) {
    std::array<char, 160> text{};
    std::snprintf(
        text.data(), text.size(),
        "the new parameters are not finite (gradient norm %.3g, learning rate %.3g); if no "
        "host lies, lower optimizer.learning_rate or set clip_norm",
        outcome.gradient_norm, outcome.learning_rate);
    return fail(Errc::kOutOfRange, text.data());
  }
  return outcome;
}

}  // namespace mh::update
