// The optimizers' loops and the schedules; see optimizer.h.
#include "trainer/update/optimizer.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"

namespace mh::update {
namespace {

/// base^exponent by squaring: a fixed order of multiplications.
double power(double base, std::uint64_t exponent) {
  double result = 1;
  for (double square = base; exponent != 0; exponent >>= 1, square *= square) {
    if (exponent & 1) result *= square;
  }
  return result;
}

/// cos(angle) for |angle| at most π/4, or sin with `first_term` the angle: the Taylor series,
/// summed from its small end; the last term is below 1e-20.
double series(double angle, double first_power) {
  const double square = angle * angle;
  double sum = 0;
  for (int k = 9; k >= 1; --k) {
    const double n = 2 * k + first_power;
    sum = (1 + sum) * (-square / (n * (n - 1)));
  }
  return first_power == 0 ? 1 + sum : angle * (1 + sum);
}

/// cos(π x) for x in [0, 1], to the last bits of a double, without libm.
double cos_pi(double x) {
  constexpr double kPi = 3.141592653589793;
  if (x > 0.5) return -cos_pi(1 - x);
  return x <= 0.25 ? series(kPi * x, 0) : series(kPi * (0.5 - x), 1);
}

template <bool kWithMomentum, bool kNesterov>
void step_sgd(float* __restrict parameters, const float* __restrict gradient,
              float* __restrict momentum, std::size_t count, float decay, float factor,
              float rate) {
  for (std::size_t i = 0; i < count; ++i) {
    float change = gradient[i] + decay * parameters[i];
    if constexpr (kWithMomentum) {
      momentum[i] = factor * momentum[i] + change;
      change = kNesterov ? change + factor * momentum[i] : momentum[i];
    }
    parameters[i] -= rate * change;
  }
}

/// Scalars of adam, rounded once.
struct AdamScalars {
  float keep = 1;           // Factor on parameters (adamw's decay).
  float decay = 0;          // Factor of parameters in the gradient (adam's).
  float first_weight = 0;   // 1 - beta1.
  float second_keep = 0;    // beta2.
  float second_weight = 0;  // 1 - beta2.
  float rate = 0;           // lr / (1 - beta1^t).
  float root = 1;           // sqrt(1 - beta2^t).
  float epsilon = 0;
};

void step_adam(float* __restrict parameters, const float* __restrict gradient,
               float* __restrict first, float* __restrict second, std::size_t count,
               const AdamScalars& scalars) {
  const AdamScalars s = scalars;
  for (std::size_t i = 0; i < count; ++i) {
    const float kept = parameters[i] * s.keep;
    const float change = gradient[i] + s.decay * parameters[i];
    first[i] += s.first_weight * (change - first[i]);
    second[i] = s.second_keep * second[i] + s.second_weight * (change * change);
    const float divisor = std::sqrt(second[i]) / s.root + s.epsilon;
    parameters[i] = kept - s.rate * (first[i] / divisor);
  }
}

AdamScalars adam_scalars(const model::OptimizerSpec& spec, double learning_rate,
                         std::uint64_t step) {
  const bool decoupled = spec.kind == model::OptimizerKind::kAdamW;
  AdamScalars scalars;
  scalars.keep = static_cast<float>(decoupled ? 1 - learning_rate * spec.weight_decay : 1.0);
  scalars.decay = static_cast<float>(decoupled ? 0.0 : spec.weight_decay);
  scalars.first_weight = static_cast<float>(1 - spec.beta1);
  scalars.second_keep = static_cast<float>(spec.beta2);
  scalars.second_weight = static_cast<float>(1 - spec.beta2);
  scalars.rate = static_cast<float>(learning_rate / (1 - power(spec.beta1, step)));
  scalars.root = static_cast<float>(std::sqrt(1 - power(spec.beta2, step)));
  scalars.epsilon = static_cast<float>(spec.epsilon);
  return scalars;
}

}  // namespace

std::uint32_t optimizer_slots(const model::OptimizerSpec& spec) {
  if (spec.kind != model::OptimizerKind::kSgd) return 2;
  return spec.momentum > 0 ? 1 : 0;
}

void step_parameters(std::span<float> parameters, std::span<const float> gradient,
                     std::span<float> state, const model::OptimizerSpec& spec, double learning_rate,
                     std::uint64_t steps_done) {
  const std::size_t count = parameters.size();
  MH_CHECK(gradient.size() == count && state.size() == count * optimizer_slots(spec));
  if (spec.kind != model::OptimizerKind::kSgd) {
    step_adam(parameters.data(), gradient.data(), state.data(), state.data() + count, count,
              adam_scalars(spec, learning_rate, steps_done + 1));
    return;
  }
  const auto decay = static_cast<float>(spec.weight_decay);
  const auto factor = static_cast<float>(spec.momentum);
  const auto rate = static_cast<float>(learning_rate);
  const auto loop = spec.momentum <= 0 ? step_sgd<false, false>
                    : spec.nesterov    ? step_sgd<true, true>
                                       : step_sgd<true, false>;
  loop(parameters.data(), gradient.data(), state.data(), count, decay, factor, rate);
}

double learning_rate_at(const model::ScheduleSpec& schedule, double base_learning_rate,
                        std::uint64_t step, std::uint64_t step_count) {
  const std::uint64_t warmup = schedule.warmup_steps;
  double rate = base_learning_rate;
  if (step < warmup) rate *= static_cast<double>(step + 1) / static_cast<double>(warmup);
  const std::uint64_t after = step < warmup ? 0 : step - warmup;
  switch (schedule.kind) {
    case model::ScheduleKind::kConstant:
      return rate;
    case model::ScheduleKind::kStep:
      return rate *
             power(schedule.factor, after / std::max<std::uint64_t>(1, schedule.every_steps));
    case model::ScheduleKind::kCosine: {
      const std::uint64_t span = step_count > warmup ? step_count - warmup : 1;
      const double share = std::min(1.0, static_cast<double>(after) / static_cast<double>(span));
      const double cosine = (1 + cos_pi(share)) / 2;
      return rate * (schedule.final_factor + (1 - schedule.final_factor) * cosine);
    }
  }
  return rate;
}

}  // namespace mh::update
