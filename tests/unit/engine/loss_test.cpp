// Losses: values, correct answers and gradients against torch's own.
#include "trainer/engine/loss.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace mh::engine {
namespace {

TEST(CrossEntropy, IsTorchsSumOverSamples) {
  const at::Tensor logits = at::randn({6, 4}).requires_grad_(true);
  const at::Tensor targets = at::randint(4, {6}, at::kLong);
  const at::Tensor wanted = at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum);
  wanted.backward();
  const LossOutcome outcome = cross_entropy(logits.detach(), targets, true);
  EXPECT_NEAR(outcome.loss_sum.item<double>(), wanted.item<double>(), 1e-5);
  EXPECT_TRUE(at::allclose(outcome.output_gradient, logits.grad(), 1e-5, 1e-6));
  EXPECT_EQ(outcome.correct_count.item<std::int64_t>(),
            logits.argmax(1).eq(targets).sum().item<std::int64_t>());
}

TEST(CrossEntropy, OfSeveralTargetsIsTheirMeanAndCorrectWhenAllAre) {
  const at::Tensor logits = at::randn({2, 3, 5}).requires_grad_(true);
  at::Tensor targets = logits.detach().argmax(2);
  targets[1][2] = (targets[1][2].item<std::int64_t>() + 1) % 5;
  const at::Tensor wanted =
      at::cross_entropy_loss(logits.view({6, 5}), targets.view({6}), {}, at::Reduction::Mean)
          .mul(2);
  wanted.backward();
  const LossOutcome outcome = cross_entropy(logits.detach(), targets, true);
  EXPECT_NEAR(outcome.loss_sum.item<double>(), wanted.item<double>(), 1e-5);
  EXPECT_TRUE(at::allclose(outcome.output_gradient, logits.grad(), 1e-5, 1e-6));
  EXPECT_EQ(outcome.correct_count.item<std::int64_t>(), 1);
}

TEST(MeanSquaredError, IsTorchsMeanOfEachSampleSummed) {
  const at::Tensor output = at::randn({4, 3}).requires_grad_(true);
  const at::Tensor targets = at::randn({4, 3});
  const at::Tensor wanted = at::mse_loss(output, targets, at::Reduction::Mean).mul(4);
  wanted.backward();
  const LossOutcome outcome = mean_squared_error(output.detach(), targets, true);
  EXPECT_NEAR(outcome.loss_sum.item<double>(), wanted.item<double>(), 1e-5);
  EXPECT_TRUE(at::allclose(outcome.output_gradient, output.grad(), 1e-5, 1e-6));
  EXPECT_FALSE(outcome.correct_count.defined());
}

TEST(Losses, LeaveTheGradientOutWhenItIsNotWanted) {
  const at::Tensor logits = at::randn({2, 3});
  EXPECT_FALSE(
      cross_entropy(logits, at::randint(3, {2}, at::kLong), false).output_gradient.defined());
  EXPECT_FALSE(mean_squared_error(logits, logits, false).output_gradient.defined());
}

}  // namespace
}  // namespace mh::engine
