// Optimizers against torch.optim's equations in double, and against recorded bits.
#include "trainer/update/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "proto/base/random.h"
#include "proto/base/sha256.h"
#include "trainer/update/step.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {
namespace {

using model::OptimizerKind;
using model::OptimizerSpec;
using model::ScheduleKind;
using model::ScheduleSpec;

constexpr std::size_t kCount = 67;
constexpr std::uint64_t kSteps = 50;
constexpr double kRate = 0.01;

/// Pulls each parameter towards its own target, with noise that depends on the step: what a
/// training loop does, without a model.
template <class T>
std::vector<T> gradient_at(const std::vector<T>& parameters, std::uint64_t step) {
  std::vector<T> gradient(parameters.size());
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const auto noise = Philox4x32(7, step).block(i)[0];
    gradient[i] = parameters[i] - static_cast<T>(0.1F * static_cast<float>(i)) +
                  static_cast<T>(uniform_float(noise) - 0.5F);
  }
  return gradient;
}

std::vector<float> run_fp32(const OptimizerSpec& spec) {
  std::vector<float> parameters(kCount, 1.0F);
  std::vector<float> state(kCount * optimizer_slots(spec));
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    step_parameters(parameters, gradient_at(parameters, step), state, spec, kRate, step);
  }
  return parameters;
}

/// torch/optim/sgd.py, dampening 0: the first momentum buffer is the gradient itself.
std::vector<double> run_sgd_in_double(const OptimizerSpec& spec) {
  std::vector<double> parameters(kCount, 1.0);
  std::vector<double> buffer;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    std::vector<double> gradient = gradient_at(parameters, step);
    for (std::size_t i = 0; i < kCount; ++i) gradient[i] += spec.weight_decay * parameters[i];
    if (spec.momentum > 0 && buffer.empty()) {
      buffer = gradient;
    } else if (spec.momentum > 0) {
      for (std::size_t i = 0; i < kCount; ++i) buffer[i] = buffer[i] * spec.momentum + gradient[i];
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      double change = gradient[i];
      if (spec.momentum > 0)
        change = spec.nesterov ? gradient[i] + spec.momentum * buffer[i] : buffer[i];
      parameters[i] -= kRate * change;
    }
  }
  return parameters;
}

/// torch/optim/adam.py and adamw.py, without amsgrad.
std::vector<double> run_adam_in_double(const OptimizerSpec& spec) {
  const bool decoupled = spec.kind == OptimizerKind::kAdamW;
  std::vector<double> parameters(kCount, 1.0), average(kCount), square_average(kCount);
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    std::vector<double> gradient = gradient_at(parameters, step);
    const double t = static_cast<double>(step + 1);
    const double correction1 = 1 - std::pow(spec.beta1, t);
    const double correction2 = 1 - std::pow(spec.beta2, t);
    for (std::size_t i = 0; i < kCount; ++i) {
      if (decoupled) parameters[i] *= 1 - kRate * spec.weight_decay;
      if (!decoupled) gradient[i] += spec.weight_decay * parameters[i];
      average[i] = spec.beta1 * average[i] + (1 - spec.beta1) * gradient[i];
      square_average[i] =
          spec.beta2 * square_average[i] + (1 - spec.beta2) * gradient[i] * gradient[i];
      const double divisor = std::sqrt(square_average[i]) / std::sqrt(correction2) + spec.epsilon;
      parameters[i] -= kRate / correction1 * average[i] / divisor;
    }
  }
  return parameters;
}

OptimizerSpec sgd(double momentum, bool nesterov, double decay) {
  OptimizerSpec spec;
  spec.momentum = momentum;
  spec.nesterov = nesterov;
  spec.weight_decay = decay;
  return spec;
}

OptimizerSpec adam(OptimizerKind kind, double decay) {
  OptimizerSpec spec;
  spec.kind = kind;
  spec.weight_decay = decay;
  return spec;
}

struct Case {
  const char* name;
  OptimizerSpec spec;
  /// SHA-256 of the parameters after 50 steps, recorded: promise 1 across builds and machines.
  const char* recorded;
};

std::vector<Case> cases() {
  return {
      {"plain", sgd(0, false, 0),
       "b877690da2985dab969761fa7f96708184f29e82f751d0d85d04e344bc9617c7"},
      {"decay", sgd(0, false, 0.1),
       "064e9717d8aaf02a31e944513303691d31c991f7d436c6f374443b9c476ca040"},
      {"momentum", sgd(0.9, false, 1e-3),
       "eaf9f0905cab9044289ad7e43907477beb043d23427a4ec47e7d3589ada308b4"},
      {"nesterov", sgd(0.9, true, 1e-3),
       "c85b805ae1cf962bfd2bccb7f7c1b0a384e4570195e9a0506cd3c04c3f7303c1"},
      {"adam", adam(OptimizerKind::kAdam, 0),
       "c9c531f26a00c09e7365bc9e7b6ca9e65d8e8c9c79fb2be508fbeb422c3844c3"},
      {"adam with decay", adam(OptimizerKind::kAdam, 0.1),
       "ca3aa9eb0842fe1016c5ddc4d2f50590e70a1e84c50636df11c5eb655e008e42"},
      {"adamw", adam(OptimizerKind::kAdamW, 0.1),
       "e3014c50183b6fd15eb3eb74cb6a0b7ea6144549977a94fafa3e1ac42eaf0fdc"},
  };
}

TEST(Optimizer, FollowsTorchsEquationsToRoundingOverFiftySteps) {
  for (const Case& c : cases()) {
    const std::vector<float> found = run_fp32(c.spec);
    const std::vector<double> expected =
        c.spec.kind == OptimizerKind::kSgd ? run_sgd_in_double(c.spec) : run_adam_in_double(c.spec);
    for (std::size_t i = 0; i < kCount; ++i) {
      EXPECT_NEAR(found[i], expected[i], 5e-6 * std::max(1.0, std::abs(expected[i])))
          << c.name << " " << i;
    }
  }
}

TEST(Optimizer, HasTheRecordedBits) {
  for (const Case& c : cases()) {
    const std::vector<float> found = run_fp32(c.spec);
    EXPECT_EQ(sha256(std::as_bytes(std::span(found))).hex(), c.recorded) << c.name;
  }
}

TEST(Optimizer, TakesAFirstStepThatCanBeDoneByHand) {
  std::vector<float> parameters = {1.0F};
  std::vector<float> state(2);
  const std::vector<float> gradient = {0.5F};
  step_parameters(parameters, gradient, std::span(state).first(1), sgd(0.9, true, 0), 0.1, 0);
  EXPECT_FLOAT_EQ(parameters[0], 1.0F - 0.1F * (0.5F + 0.9F * 0.5F));
  EXPECT_FLOAT_EQ(state[0], 0.5F);
  // Adam's first step is the learning rate, whatever the gradient's size.
  parameters = {1.0F};
  state = {0.0F, 0.0F};
  step_parameters(parameters, gradient, state, adam(OptimizerKind::kAdam, 0), 0.1, 0);
  EXPECT_NEAR(parameters[0], 0.9F, 1e-6);
  EXPECT_FLOAT_EQ(state[0], 0.05F);
  EXPECT_FLOAT_EQ(state[1], 0.00025F);
}

TEST(Optimizer, ElementsDoNotDependOnTheirNeighbours) {
  // Vectorised loops and their scalar ends give the same bits.
  for (const Case& c : cases()) {
    std::vector<float> whole(kCount), state(kCount * optimizer_slots(c.spec));
    for (std::size_t i = 0; i < kCount; ++i) whole[i] = 0.37F * static_cast<float>(i) - 5.0F;
    const std::vector<float> start = whole;
    const std::vector<float> gradient = gradient_at(whole, 3);
    step_parameters(whole, gradient, state, c.spec, kRate, 3);
    for (std::size_t i = 0; i < kCount; ++i) {
      std::vector<float> one = {start[i]}, one_state(optimizer_slots(c.spec));
      step_parameters(one, std::span(gradient).subspan(i, 1), one_state, c.spec, kRate, 3);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(one[0]), std::bit_cast<std::uint32_t>(whole[i]))
          << c.name;
    }
  }
}

TEST(Optimizer, NeedsNoMoreStateThanItsKind) {
  EXPECT_EQ(optimizer_slots(sgd(0, false, 0.1)), 0U);
  EXPECT_EQ(optimizer_slots(sgd(0.9, false, 0)), 1U);
  EXPECT_EQ(optimizer_slots(adam(OptimizerKind::kAdam, 0)), 2U);
  EXPECT_EQ(optimizer_slots(adam(OptimizerKind::kAdamW, 0)), 2U);
}

TEST(LearningRate, IsConstantAfterALinearWarmUp) {
  ScheduleSpec schedule;
  schedule.warmup_steps = 4;
  const double expected[] = {0.25, 0.5, 0.75, 1, 1, 1};
  for (std::uint64_t step = 0; step < 6; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, step, 6), expected[step]);
  }
}

TEST(LearningRate, DropsInSteps) {
  ScheduleSpec schedule;
  schedule.kind = ScheduleKind::kStep;
  schedule.every_steps = 3;
  schedule.factor = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 2, 2, 100), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 2, 3, 100), 0.2);
  EXPECT_NEAR(learning_rate_at(schedule, 2, 8, 100), 0.02, 1e-15);
}

TEST(LearningRate, FollowsTheCosineOfLibmToOneInAThousandMillionMillion) {
  ScheduleSpec schedule;
  schedule.kind = ScheduleKind::kCosine;
  schedule.warmup_steps = 10;
  schedule.final_factor = 0.1;
  const std::uint64_t count = 1'410;
  for (std::uint64_t step = 10; step <= count; ++step) {
    const double share = static_cast<double>(step - 10) / 1'400.0;
    const double cosine = (1 + std::cos(3.14159265358979323846 * share)) / 2;
    EXPECT_NEAR(learning_rate_at(schedule, 1, step, count), 0.1 + 0.9 * cosine, 2e-15) << step;
  }
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 0, count), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, count + 99, count), 0.1);
}

TEST(LearningRate, SurvivesAWarmUpLongerThanTheJob) {
  ScheduleSpec schedule;
  schedule.kind = ScheduleKind::kCosine;
  schedule.warmup_steps = 100;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 4, 5), 0.05);
}

TEST(TakeStep, ClipsSchedulesAndSteps) {
  StepRule rule;
  rule.optimizer.learning_rate = 0.5;
  rule.schedule.warmup_steps = 2;
  rule.clip_norm = 1;
  rule.step_count = 10;
  std::vector<float> gradient = {3.0F, 4.0F}, parameters = {0.0F, 0.0F};
  const StepOutcome outcome = take_step(rule, 0, gradient, parameters, {}).value();
  EXPECT_DOUBLE_EQ(outcome.gradient_norm, 5);
  EXPECT_DOUBLE_EQ(outcome.learning_rate, 0.25);
  EXPECT_NEAR(parameters[0], -0.15, 1e-6);
  EXPECT_NEAR(parameters[1], -0.2, 1e-6);
}

TEST(TakeStep, SaysThatTheLearningRateIsTooHigh) {
  StepRule rule;
  rule.optimizer.learning_rate = 1000;
  std::vector<float> parameters = {0.0F};
  std::vector<float> gradient = {std::numeric_limits<float>::max()};
  const auto outcome = take_step(rule, 12, gradient, parameters, {});
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().message.find("learning rate 1e+03"), std::string::npos);
  EXPECT_NE(outcome.error().message.find("optimizer.learning_rate"), std::string::npos);
  gradient = {std::numeric_limits<float>::infinity()};
  EXPECT_EQ(take_step(rule, 12, gradient, parameters, {}).error().code, Errc::kOutOfRange);
}

}  // namespace
}  // namespace mh::update
