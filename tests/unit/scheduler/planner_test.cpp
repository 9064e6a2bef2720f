// The plan of samples: every sample once per pass, the same everywhere.
#include "scheduler/planner.h"

#include <gtest/gtest.h>

#include <vector>

namespace mh::scheduler {
namespace {

TEST(Planner, GivesEverySampleOncePerPass) {
  SampleStream stream(7, 101);
  for (std::uint64_t pass = 0; pass < 3; ++pass) {
    std::vector<int> seen(101);
    for (std::uint64_t i = 0; i < 101; ++i) ++seen.at(stream.sample_at(pass * 101 + i));
    EXPECT_EQ(seen, std::vector<int>(101, 1)) << "pass " << pass;
  }
}

TEST(Planner, ShufflesPassesAndSeedsDifferently) {
  SampleStream first(7, 1000);
  SampleStream second(8, 1000);
  int same_as_next_pass = 0;
  int same_as_other_seed = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t sample = first.sample_at(i);
    if (sample == first.sample_at(1000 + i)) ++same_as_next_pass;
    if (sample == second.sample_at(i)) ++same_as_other_seed;
  }
  EXPECT_LT(same_as_next_pass, 10);
  EXPECT_LT(same_as_other_seed, 10);
}

TEST(Planner, AnswersTheSameInAnyOrder) {
  SampleStream forward(3, 50);
  SampleStream backward(3, 50);
  std::vector<std::uint64_t> samples;
  for (std::uint64_t i = 0; i < 200; ++i) samples.push_back(forward.sample_at(i));
  for (std::uint64_t i = 200; i-- > 0;) EXPECT_EQ(backward.sample_at(i), samples[i]);
}

// The order is part of every job that was ever trained: it must not change.
TEST(Planner, KeepsItsOrderForEver) {
  SampleStream stream(42, 10);
  std::vector<std::uint64_t> samples;
  for (std::uint64_t i = 0; i < 20; ++i) samples.push_back(stream.sample_at(i));
  const std::vector<std::uint64_t> golden = {8, 3, 9, 0, 7, 2, 1, 5, 6, 4,
                                             4, 9, 8, 5, 3, 1, 6, 2, 0, 7};
  EXPECT_EQ(samples, golden);
}

TEST(Planner, CutsAStepWithoutGaps) {
  const StepShape shape{32, 8};
  EXPECT_EQ(workunits_per_step(shape), 4u);
  EXPECT_EQ(shard_range(shape, 0, 0), (ShardRange{0, 8}));
  EXPECT_EQ(shard_range(shape, 5, 3), (ShardRange{5 * 32 + 24, 6 * 32}));
}

TEST(Planner, CutsAnEvaluationWithAShortLastRange) {
  const auto ranges = evaluation_ranges(100, 40);
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[2], (ShardRange{80, 100}));
  EXPECT_EQ(chunks_of(ranges[1], 50), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_TRUE(chunks_of(ranges[1], 0).empty());
}

}  // namespace
}  // namespace mh::scheduler
