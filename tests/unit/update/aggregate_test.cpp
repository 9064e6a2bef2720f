// Sums in shard order, and clipping.
#include "trainer/update/aggregate.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "proto/base/random.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {
namespace {

/// `count` numbers of very different size, so that another order of addition would show.
std::vector<float> wild_values(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  Philox4x32 random(seed);
  for (float& value : values) {
    value = (uniform_float(random.next()) - 0.5F) *
            std::ldexp(1.0F, static_cast<int>(random.below(60)) - 30);
  }
  return values;
}

TEST(GradientAccumulator, AddsShardsInDoubleAndRoundsOnce) {
  GradientAccumulator accumulator(2);
  // 1 + 2^-30 + 2^-30 + … is lost in fp32 but not in double.
  const std::vector<float> large = {1.0F, 0.0F};
  const std::vector<float> small = {0x1p-24F, 1.0F};
  ASSERT_TRUE(accumulator.add(0, large));
  for (std::uint64_t shard = 1; shard <= 4; ++shard) ASSERT_TRUE(accumulator.add(shard, small));
  std::vector<float> mean(2);
  accumulator.mean(2, mean);
  EXPECT_EQ(mean[0], static_cast<float>((1.0 + 0x1p-22) / 2));
  EXPECT_EQ(mean[1], 2.0F);
}

TEST(GradientAccumulator, RefusesAShardOutOfOrderOrTwice) {
  GradientAccumulator accumulator(1);
  const std::vector<float> value = {1.0F};
  EXPECT_EQ(accumulator.add(1, value).error().message, "shard 1 cannot be added: shard 0 is next");
  ASSERT_TRUE(accumulator.add(0, value));
  EXPECT_EQ(accumulator.add(0, value).error().code, Errc::kFailedPrecondition);
  EXPECT_EQ(accumulator.next_shard(), 1U);
  std::vector<float> mean(1);
  accumulator.mean(1, mean);
  EXPECT_EQ(mean[0], 1.0F);
}

TEST(GradientAccumulator, RefusesAnotherNumberOfElements) {
  GradientAccumulator accumulator(3);
  EXPECT_EQ(accumulator.add(0, wild_values(2, 1)).error().message,
            "shard 0 has 2 elements, expected 3");
  EXPECT_EQ(accumulator.next_shard(), 0U);
}

TEST(GradientAccumulator, IsEmptyAfterReset) {
  GradientAccumulator accumulator(1);
  const std::vector<float> value = {3.0F};
  ASSERT_TRUE(accumulator.add(0, value));
  accumulator.reset();
  ASSERT_TRUE(accumulator.add(0, value));
  std::vector<float> mean(1);
  accumulator.mean(1, mean);
  EXPECT_EQ(mean[0], 3.0F);
}

TEST(MeanGradient, HasTheBitsOfTheAccumulator) {
  for (const std::size_t elements : {1U, 7U, 2'047U, 2'048U, 2'049U, 10'001U}) {
    GradientAccumulator accumulator(elements);
    std::vector<std::vector<float>> shards;
    std::vector<std::span<const float>> spans;
    for (std::uint64_t shard = 0; shard < 5; ++shard) {
      shards.push_back(wild_values(elements, shard));
      ASSERT_TRUE(accumulator.add(shard, shards.back()));
    }
    for (const auto& shard : shards) spans.emplace_back(shard);
    std::vector<float> one_by_one(elements);
    std::vector<float> at_once(elements);
    accumulator.mean(160, one_by_one);
    ASSERT_TRUE(mean_gradient({}, spans, 160, at_once));
    EXPECT_EQ(sha256(std::as_bytes(std::span(one_by_one))),
              sha256(std::as_bytes(std::span(at_once))));
  }
}

TEST(MeanGradient, HasTheSameBitsHoweverTheShardsComeInGroups) {
  constexpr std::size_t kElements = 5'000;
  std::vector<std::vector<float>> shards;
  for (std::uint64_t shard = 0; shard < 11; ++shard)
    shards.push_back(wild_values(kElements, shard));
  const std::vector<std::span<const float>> spans(shards.begin(), shards.end());
  std::vector<float> expected(kElements);
  ASSERT_TRUE(mean_gradient({}, spans, 7, expected));
  for (const std::size_t first : {0U, 1U, 4U, 5U, 11U}) {
    for (std::size_t second = first; second <= spans.size(); ++second) {
      // What is left of an earlier step does not count.
      std::vector<double> sum(kElements, 1e30);
      std::vector<float> mean(kElements);
      ASSERT_TRUE(add_shards(sum, Shards(spans).first(first), true));
      ASSERT_TRUE(add_shards(sum, Shards(spans).subspan(first, second - first), false));
      ASSERT_TRUE(mean_gradient(sum, Shards(spans).subspan(second), 7, mean));
      ASSERT_EQ(mean, expected) << first << " and " << second;
    }
  }
}

// Powers of two take another way, which must not show.
TEST(MeanGradient, IsTheQuotientRoundedOnceWhateverTheDivisor) {
  std::vector<float> values = {0.0F, -0.0F, 1.0F, -3.3e38F, 1.4e-45F, -1.1754942e-38F};
  Philox4x32 random(3);
  while (values.size() < 3'000)
    values.push_back(
        std::ldexp(uniform_float(random.next()) - 0.5F, static_cast<int>(random.below(250)) - 140));
  const std::vector<std::span<const float>> shards = {values, values, values};
  for (const std::uint64_t samples : {1ULL, 2ULL, 3ULL, 32ULL, 96ULL, 65'536ULL, 1ULL << 60}) {
    std::vector<float> mean(values.size());
    ASSERT_TRUE(mean_gradient({}, shards, samples, mean).has_value());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = static_cast<double>(values[i]);
      const double sum = 0.0 + value + value + value;
      ASSERT_EQ(
          std::bit_cast<std::uint32_t>(mean[i]),
          std::bit_cast<std::uint32_t>(static_cast<float>(sum / static_cast<double>(samples))))
          << values[i] << " by " << samples;
    }
  }
}

TEST(AddShards, RefusesAShardOfAnotherSizeAndChangesNothing) {
  const std::vector<float> a = {1.0F}, b = {1.0F, 2.0F};
  const std::vector<std::span<const float>> shards = {a, b};
  std::vector<double> sum = {5.0};
  EXPECT_EQ(add_shards(sum, shards, true).error().message, "shard 1 has 2 elements, expected 1");
  EXPECT_EQ(sum[0], 5.0);
}

TEST(MeanGradient, DependsOnTheOrderOfShards) {
  // The reason for the order: without it these two would have to be equal.
  const std::vector<float> a = {1.0F}, b = {0x1p60F}, c = {-0x1p60F};
  const std::vector<std::span<const float>> one = {a, b, c}, other = {b, c, a};
  std::vector<float> first(1), second(1);
  ASSERT_TRUE(mean_gradient({}, one, 1, first));
  ASSERT_TRUE(mean_gradient({}, other, 1, second));
  EXPECT_EQ(first[0], 0.0F);
  EXPECT_EQ(second[0], 1.0F);
}

TEST(MeanGradient, RefusesAShardOfAnotherSize) {
  const std::vector<float> a = {1.0F}, b = {1.0F, 2.0F};
  const std::vector<std::span<const float>> shards = {a, b};
  std::vector<float> out(1);
  EXPECT_EQ(mean_gradient({}, shards, 1, out).error().message,
            "shard 1 has 2 elements, expected 1");
}

TEST(ClipByGlobalNorm, ScalesWhatIsTooLong) {
  std::vector<float> gradient = {3.0F, 4.0F};
  EXPECT_DOUBLE_EQ(clip_by_global_norm(gradient, 1.0), 5.0);
  EXPECT_NEAR(gradient[0], 0.6, 1e-6);
  EXPECT_NEAR(l2_norm(gradient), 1.0, 1e-6);
}

TEST(ClipByGlobalNorm, LeavesTheRestAlone) {
  std::vector<float> gradient = {3.0F, 4.0F};
  EXPECT_DOUBLE_EQ(clip_by_global_norm(gradient, 5.1), 5.0);
  EXPECT_DOUBLE_EQ(clip_by_global_norm(gradient, 0), 5.0);
  EXPECT_EQ(gradient, (std::vector<float>{3.0F, 4.0F}));
  std::vector<float> zeros(3);
  EXPECT_EQ(clip_by_global_norm(zeros, 1.0), 0.0);
  EXPECT_EQ(zeros, std::vector<float>(3));
}

}  // namespace
}  // namespace mh::update
