// One step of a job, from its mean gradient to the next parameters: clip, schedule, optimize,
// check. The server and `manyhands-trainer reference` both call this, so that their bits cannot
// differ. Pure; no threads.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/result.h"
#include "trainer/model/training_spec.h"

namespace mh::update {

/// How a job steps; from its JobSpec.
struct StepRule {
  model::OptimizerSpec optimizer;
  model::ScheduleSpec schedule;
  /// 0: no clipping.
  double clip_norm = 0;
  /// Steps of the whole job, for the schedule.
  std::uint64_t step_count = 0;
};

struct StepOutcome {
  /// L2 norm of the mean gradient before clipping.
  double gradient_norm = 0;
  double learning_rate = 0;
};

/// Takes step number `step` (from 0: steps done so far). `gradient` is the mean gradient; clipping
/// changes it in place. Requires: sizes as step_parameters().
/// Errors: kOutOfRange when the gradient or a new parameter is not finite (the learning rate is too
/// high); parameters and state are then spoiled and the step must be taken from the old ones.
Result<StepOutcome> take_step(const StepRule& rule, std::uint64_t step, std::span<float> gradient,
                              std::span<float> parameters, std::span<float> state);

}  // namespace mh::update
