// Sums of gradients: the same bits whatever was computed before, and stops, refusals, extremes.
#include "trainer/engine/engine.h"

#include "tests/unit/engine/engine_fixture.h"

namespace mh::engine {
namespace {

class EngineTest : public testing::Test {
 protected:
  void make(model::ModelPlan plan, std::uint32_t micro_batch) {
    EngineJob job;
    job.plan = std::move(plan);
    job.seed = 11;
    job.micro_batch = micro_batch;
    parameters_ = model::initial_parameters(job.plan, 11);
    Result<std::unique_ptr<Engine>> engine = Engine::create(std::move(job), cpu());
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
    ASSERT_TRUE(engine_->set_parameters(parameters_));
  }

  std::vector<float> gradient(std::uint64_t begin, std::uint64_t end, Sums* sums = nullptr) {
    std::vector<float> values(parameters_.size());
    const Result<Sums> computed =
        engine_->compute_gradient(samples_, numbers(begin, end), begin, values);
    EXPECT_TRUE(computed) << (computed ? "" : computed.error().message);
    if (computed && sums != nullptr) *sums = *computed;
    return values;
  }

  MadeUpSamples samples_{256};
  std::vector<float> parameters_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, ComputesTheSameBitsTwiceAndAfterOtherWork) {
  make(small_cnn(), 8);
  Sums first_sums;
  const std::vector<float> first = gradient(0, 32, &first_sums);
  EXPECT_GT(first_sums.loss_sum, 0);
  EXPECT_TRUE(is_same_bits(first, gradient(0, 32)));
  gradient(64, 128);
  ASSERT_TRUE(engine_->evaluate(samples_, 3, 50));
  std::vector<float> others = parameters_;
  for (float& value : others) value *= 2;
  ASSERT_TRUE(engine_->set_parameters(others));
  EXPECT_FALSE(is_same_bits(first, gradient(0, 32)));
  ASSERT_TRUE(engine_->set_parameters(parameters_));
  Sums again_sums;
  EXPECT_TRUE(is_same_bits(first, gradient(0, 32, &again_sums)));
  EXPECT_EQ(first_sums.loss_sum, again_sums.loss_sum);
  EXPECT_EQ(first_sums.correct_count, again_sums.correct_count);
}

TEST_F(EngineTest, AnotherEngineOfTheSameJobComputesTheSameBits) {
  make(small_cnn(), 8);
  const std::vector<float> first = gradient(0, 32);
  make(small_cnn(), 8);
  EXPECT_TRUE(is_same_bits(first, gradient(0, 32)));
}

TEST_F(EngineTest, ShardsAddUpToTheWholeAlsoWithDropout) {
  make(small_cnn(), 8);
  Sums whole_sums;
  const std::vector<float> whole = gradient(0, 32, &whole_sums);
  Sums a;
  Sums b;
  const std::vector<float> first = gradient(0, 16, &a);
  const std::vector<float> second = gradient(16, 32, &b);
  EXPECT_NEAR(a.loss_sum + b.loss_sum, whole_sums.loss_sum, 1e-9);
  EXPECT_EQ(a.correct_count + b.correct_count, whole_sums.correct_count);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    ASSERT_NEAR(first[i] + second[i], whole[i], 1e-4) << i;
  }
}

TEST_F(EngineTest, GradientsAreTheSlopesOfTheLoss) {
  make(plan_for({layer("flatten"), layer("linear", {{"out", std::int64_t{6}}}), layer("tanh"),
                 layer("linear")},
                {3, 3}, 4),
       4);
  const std::vector<float> slopes = gradient(0, 8);
  for (std::size_t i = 0; i < parameters_.size(); i += 7) {
    const auto loss_at = [&](float change) {
      std::vector<float> moved = parameters_;
      moved[i] += change;
      EXPECT_TRUE(engine_->set_parameters(moved));
      return engine_->evaluate(samples_, 0, 8)->loss_sum;
    };
    EXPECT_NEAR((loss_at(1e-2F) - loss_at(-1e-2F)) / 2e-2, slopes[i], 5e-3) << i;
  }
}

TEST_F(EngineTest, EvaluationMayEndInAShorterMicroBatch) {
  make(small_cnn(), 8);
  const Result<Sums> whole = engine_->evaluate(samples_, 0, 21);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->sample_count, 21U);
  EXPECT_EQ(engine_->outputs(samples_, numbers(0, 21))->size(), 21U * 5);
  EXPECT_FALSE(engine_->evaluate(samples_, 5, 5));
  EXPECT_FALSE(engine_->evaluate(samples_, 0, 257));
}

TEST_F(EngineTest, RefusesShardsThatAreNoMultipleOfTheMicroBatch) {
  make(small_cnn(), 8);
  std::vector<float> values(parameters_.size());
  const Result<Sums> sums = engine_->compute_gradient(samples_, numbers(0, 12), 0, values);
  ASSERT_FALSE(sums);
  EXPECT_EQ(sums.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(engine_->set_parameters(std::vector<float>(3)).error().code, Errc::kInvalidArgument);
}

TEST_F(EngineTest, StopsAfterAMicroBatchWhenTold) {
  make(small_cnn(), 8);
  const std::vector<float> wanted = gradient(0, 32);
  std::vector<float> values(parameters_.size());
  std::vector<std::uint64_t> reported;
  const Result<Sums> sums =
      engine_->compute_gradient(samples_, numbers(0, 32), 0, values, [&](std::uint64_t done) {
        reported.push_back(done);
        return done < 16;
      });
  ASSERT_FALSE(sums);
  EXPECT_EQ(sums.error().code, Errc::kCanceled);
  EXPECT_EQ(reported, (std::vector<std::uint64_t>{8, 16}));
  EXPECT_TRUE(is_same_bits(wanted, gradient(0, 32)));
}

TEST_F(EngineTest, ASampleThatCannotBeReadIsAnErrorAndTheNextShardIsRight) {
  make(small_cnn(), 8);
  const std::vector<float> wanted = gradient(0, 16);
  std::vector<float> values(parameters_.size());
  EXPECT_FALSE(engine_->compute_gradient(samples_, numbers(250, 266), 250, values));
  EXPECT_TRUE(is_same_bits(wanted, gradient(0, 16)));
}

TEST_F(EngineTest, TakesRowsOfAnEmbedding) {
  make(plan_for({layer("embedding", {{"num", std::int64_t{9}}, {"dim", std::int64_t{4}}}),
                 layer("flatten"), layer("linear")},
                {3}, 2),
       4);
  EXPECT_TRUE(is_same_bits(gradient(0, 16), gradient(0, 16)));
}

TEST(EngineCreate, RefusesAMicroBatchOfZero) {
  EngineJob job;
  job.plan = small_cnn();
  job.micro_batch = 0;
  EXPECT_FALSE(Engine::create(std::move(job), cpu()));
}

TEST(OpenDevice, TakesKnownNamesAndSaysWhyThereIsNoCuda) {
  EXPECT_EQ(open_device("cpu", 1)->name, "cpu");
  EXPECT_FALSE(open_device("gpu", 1));
  EXPECT_FALSE(open_device("cuda:x", 1));
  EXPECT_FALSE(open_device("cpu", 0));
  const Result<Device> device = open_device("auto", 1);
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->is_cuda() || !device->note.empty());
  EXPECT_FALSE(device->model.empty());
}

}  // namespace
}  // namespace mh::engine
