// The classic first example of distributed training: Linear(10, 10), cross entropy, SGD 0.001, four
// workers. Their mean loss agrees with the same loop in plain LibTorch to 1e-6, step after step.
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <c10/core/GradMode.h>

#include "tests/unit/engine/engine_fixture.h"
#include "trainer/update/aggregate.h"
#include "trainer/update/step.h"

namespace mh::engine {
namespace {

constexpr std::uint64_t kWorkers = 4;
constexpr std::uint64_t kShard = 8;
constexpr std::uint64_t kBatch = kWorkers * kShard;

/// The loop that one would write with LibTorch alone.
class PlainLoop {
 public:
  explicit PlainLoop(const std::vector<float>& parameters)
      : weight_(at::empty({10, 10})), bias_(at::empty({10})) {
    std::copy_n(parameters.data(), 100, weight_.mutable_data_ptr<float>());
    std::copy_n(parameters.data() + 100, 10, bias_.mutable_data_ptr<float>());
    weight_.requires_grad_(true);
    bias_.requires_grad_(true);
  }

  double step(const SampleSource& samples, std::uint64_t first) {
    at::Tensor input = at::empty({kBatch, 10});
    at::Tensor target = at::empty({kBatch}, at::kLong);
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      EXPECT_TRUE(samples.read_input(first + i, {input.mutable_data_ptr<float>() + i * 10, 10}));
      EXPECT_TRUE(
          samples.read_target(first + i, {target.mutable_data_ptr<std::int64_t>() + i, 1}, 10));
    }
    const at::Tensor loss = at::cross_entropy_loss(at::linear(input, weight_, bias_), target);
    loss.backward();
    const c10::AutoGradMode off(false);
    for (at::Tensor* parameter : {&weight_, &bias_}) {
      parameter->sub_(parameter->grad(), 0.001);
      parameter->mutable_grad().zero_();
    }
    return loss.item<double>();
  }

 private:
  at::Tensor weight_;
  at::Tensor bias_;
};

TEST(FourWorkers, HaveTheLossesOfThePlainLoop) {
  EngineJob job;
  job.plan = plan_for({layer("linear")}, {10}, 10);
  job.micro_batch = 4;
  std::vector<float> parameters = model::initial_parameters(job.plan, 5);
  ASSERT_EQ(parameters.size(), 110U);
  std::vector<std::unique_ptr<Engine>> workers;
  for (std::uint64_t i = 0; i < kWorkers; ++i) {
    workers.push_back(std::move(Engine::create(job, cpu()).value()));
  }
  PlainLoop plain(parameters);
  const MadeUpSamples samples(10 * kBatch);
  update::StepRule rule;
  rule.optimizer.learning_rate = 0.001;
  rule.step_count = 10;
  for (std::uint64_t step = 0; step < rule.step_count; ++step) {
    update::GradientAccumulator sum(parameters.size());
    std::vector<float> gradient(parameters.size());
    double loss = 0;
    for (std::uint64_t i = 0; i < kWorkers; ++i) {
      const std::uint64_t first = step * kBatch + i * kShard;
      ASSERT_TRUE(workers[i]->set_parameters(parameters));
      const auto sums =
          workers[i]->compute_gradient(samples, numbers(first, first + kShard), first, gradient);
      ASSERT_TRUE(sums) << sums.error().message;
      ASSERT_TRUE(sum.add(i, gradient));
      loss += sums->loss_sum;
    }
    sum.mean(kBatch, gradient);
    ASSERT_TRUE(update::take_step(rule, step, gradient, parameters, {}));
    EXPECT_NEAR(loss / kBatch, plain.step(samples, step * kBatch), 1e-6) << "step " << step;
  }
}

}  // namespace
}  // namespace mh::engine
