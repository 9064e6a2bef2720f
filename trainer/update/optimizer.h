// Optimizers and learning-rate schedules: the equations of torch.optim, in scalar fp32, the same
// bits on every x86-64 machine (no fused multiply-add, no fast-math, no libm but sqrt).
//
// Flow: mean gradient (aggregate.h) -> step.h -> step_parameters() -> parameters of the next step.
// State is flat: `slots` vectors of element_count floats, one after another, all zero before the
// first step; the payload of an optimizer-state pack. Pure functions; no threads.
//
// With g the gradient, p a parameter, t = steps_done + 1:
//   sgd    g += weight_decay p; with momentum: b = momentum b + g, then g = b, or with nesterov
//          g += momentum b; p -= lr g                                          (slot 0: b)
//   adam   g += weight_decay p; m += (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g g;
//          p -= lr / (1 - beta1^t) · m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//                                                                              (slot 0: m, 1: v)
//   adamw  p *= 1 - lr weight_decay first, no weight decay in g; then as adam
// Scalars (1 - beta1, lr / (1 - beta1^t), …) are computed in double and rounded to fp32 once.
#pragma once

#include <cstdint>
#include <span>

#include "trainer/model/training_spec.h"

namespace mh::update {

/// Vectors of state: 0 for plain sgd, 1 with momentum, 2 for adam and adamw.
std::uint32_t optimizer_slots(const model::OptimizerSpec& spec);

/// Changes parameters and state by one step. Sizes: gradient as parameters, state
/// optimizer_slots(spec) times that (else MH_CHECK fails). The spans must not overlap.
void step_parameters(std::span<float> parameters, std::span<const float> gradient,
                     std::span<float> state, const model::OptimizerSpec& spec, double learning_rate,
                     std::uint64_t steps_done);

/// Learning rate of step `step` (from 0) of `step_count`; the equation stands at
/// model::ScheduleSpec. Powers and the cosine are computed here, exactly alike everywhere.
double learning_rate_at(const model::ScheduleSpec& schedule, double base_learning_rate,
                        std::uint64_t step, std::uint64_t step_count);

}  // namespace mh::update
