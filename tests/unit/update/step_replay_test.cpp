// A step taken again gives the bits that the server gave.
#include "trainer/update/step_replay.h"

#include <gtest/gtest.h>

#include "proto/base/random.h"
#include "trainer/update/aggregate.h"
#include "trainer/update/optimizer.h"

namespace mh::update {
namespace {

class StepReplayTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kCount = 1'000;
  static constexpr std::uint64_t kShards = 3;

  void use(model::OptimizerKind kind, double momentum) {
    rule.optimizer.kind = kind;
    rule.optimizer.momentum = momentum;
    rule.clip_norm = 0.5;
    rule.step_count = 10;
    slots = optimizer_slots(rule.optimizer);
    parameters.assign(kCount, 0.25F);
    state.assign(slots * kCount, 0);
  }
  PackHeader header(PackKind kind, std::uint64_t step, std::uint64_t samples = 0) const {
    PackHeader made;
    made.kind = kind;
    made.slots = kind == PackKind::kOptimizerState ? slots : 1;
    made.element_count = kCount;
    made.step = step;
    made.sample_count = samples;
    made.layout_digest = sha256("layout");
    return made;
  }
  std::vector<std::byte> parameters_pack(std::uint64_t step) const {
    return make_pack(header(PackKind::kParameters, step), parameters);
  }
  std::vector<std::byte> state_pack(std::uint64_t step) const {
    if (slots == 0 || step == 0) return {};
    return make_pack(header(PackKind::kOptimizerState, step), state);
  }
  static std::vector<float> gradient(std::uint64_t step, std::uint64_t shard) {
    std::vector<float> values(kCount);
    Philox4x32 random(step + 1, shard);
    for (float& value : values) {
      value = (uniform_float(random.next()) - 0.5F) * (shard == 1 ? 1e8F : 1e-3F);
    }
    return values;
  }
  std::vector<std::byte> update_pack(std::uint64_t step, std::uint64_t shard) const {
    return make_pack(header(PackKind::kGradientSum, step, 4), gradient(step, shard));
  }
  // As the server does it.
  void expect_step(std::uint64_t step) {
    std::vector<std::vector<float>> shards;
    for (std::uint64_t shard = 0; shard < kShards; ++shard) shards.push_back(gradient(step, shard));
    const std::vector<std::span<const float>> views(shards.begin(), shards.end());
    std::vector<float> mean(kCount);
    ASSERT_TRUE(mean_gradient({}, views, 4 * kShards, mean));
    ASSERT_TRUE(take_step(rule, step, mean, parameters, state));
  }

  StepRule rule;
  std::uint32_t slots = 0;
  std::vector<float> parameters;
  std::vector<float> state;
};

TEST_F(StepReplayTest, GivesTheBitsOfTheServer) {
  for (const auto& [kind, momentum] :
       {std::pair(model::OptimizerKind::kSgd, 0.0), std::pair(model::OptimizerKind::kSgd, 0.9),
        std::pair(model::OptimizerKind::kAdamW, 0.0)}) {
    use(kind, momentum);
    StepReplay replay(rule);
    for (std::uint64_t step = 0; step < 3; ++step) {
      ASSERT_TRUE(replay.begin(step, parameters_pack(step), state_pack(step)));
      for (std::uint64_t shard = 0; shard < kShards; ++shard)
        ASSERT_TRUE(replay.add(update_pack(step, shard), 4));
      const auto outcome = replay.finish();
      ASSERT_TRUE(outcome) << outcome.error().message;
      expect_step(step);
      EXPECT_EQ(sha256(replay.parameters()), sha256(parameters_pack(step + 1)));
      EXPECT_EQ(replay.optimizer().empty(), slots == 0);
      if (slots > 0) {
        EXPECT_EQ(sha256(replay.optimizer()), sha256(state_pack(step + 1)));
      }
    }
  }
}

TEST_F(StepReplayTest, RefusesWhatIsNotOfTheStep) {
  use(model::OptimizerKind::kSgd, 0.9);
  StepReplay replay(rule);
  EXPECT_FALSE(replay.begin(0, {}, {}));
  EXPECT_FALSE(replay.begin(0, update_pack(0, 0), {}));
  EXPECT_FALSE(replay.begin(1, parameters_pack(0), {}));
  EXPECT_FALSE(replay.begin(1, parameters_pack(1), parameters_pack(1)));
  EXPECT_FALSE(replay.begin(1, parameters_pack(1), state_pack(2)));
  ASSERT_TRUE(replay.begin(1, parameters_pack(1), state_pack(1)));
  EXPECT_EQ(replay.update_bytes(), update_pack(1, 0).size());
  EXPECT_FALSE(replay.finish()) << "there are no updates";
  EXPECT_FALSE(replay.add(update_pack(2, 0), 4));
  EXPECT_FALSE(replay.add(update_pack(1, 0), 5));
  EXPECT_FALSE(replay.add(parameters_pack(1), 4));
  std::vector<std::byte> cut = update_pack(1, 0);
  cut.pop_back();
  EXPECT_FALSE(replay.add(cut, 4));
  EXPECT_TRUE(replay.add(update_pack(1, 0), 4));
  EXPECT_TRUE(replay.finish());
}

}  // namespace
}  // namespace mh::update
