// Deviates: their distribution, and their bits.
#include "trainer/model/deviates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "proto/base/random.h"
#include "proto/base/sha256.h"

namespace mh::model {
namespace {

TEST(Deviates, UniformOnesFillTheirRangeEvenly) {
  std::vector<float> values(100'003);
  fill_uniform(values, 1, 2, 0.5F);
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    ASSERT_GE(value, -0.5F);
    ASSERT_LT(value, 0.5F);
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0, 0.004);
  EXPECT_NEAR(squares / count, 1.0 / 12, 0.001);
}

TEST(Deviates, NormalOnesEqualBoxAndMullerByLibmToRounding) {
  std::vector<float> values(20'001);
  fill_normal(values, 5, 6, 2.0F);
  const Philox4x32 generator(5, 6);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto words = generator.block(i / 2);
    const double first = uniform_double(words[0] | std::uint64_t{words[1]} << 32);
    const double second = uniform_double(words[2] | std::uint64_t{words[3]} << 32);
    const double angle = 2 * 3.14159265358979323846 * second;
    const double radius = 2 * std::sqrt(-2 * std::log(1 - first));
    EXPECT_NEAR(values[i], radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)), 1e-6);
  }
}

TEST(Deviates, NormalOnesHaveTheSharesOfTheNormalDistribution) {
  std::vector<float> values(200'000);
  fill_normal(values, 9, 0, 1.0F);
  const auto share = [&](float limit) {
    const auto within = [limit](float value) { return std::abs(value) < limit; };
    return static_cast<double>(std::count_if(values.begin(), values.end(), within)) / 200'000;
  };
  EXPECT_NEAR(share(1), 0.6827, 0.004);
  EXPECT_NEAR(share(2), 0.9545, 0.002);
  EXPECT_NEAR(share(3), 0.9973, 0.0006);
}

TEST(Deviates, HaveTheRecordedBits) {
  std::vector<float> values(1'001);
  fill_uniform(values, 123, 4, 0.1F);
  EXPECT_EQ(sha256(std::as_bytes(std::span(values))).hex(),
            "529b3f7717ef9ecf9608d31f74e8689c9ec7147bf7342951b7a13d88b2336a5f");
  fill_normal(values, 123, 4, 0.1F);
  EXPECT_EQ(sha256(std::as_bytes(std::span(values))).hex(),
            "a46a5d0f4f19f1c05b533babe7589d596d3415bd7618bba82a05d18b8228fad6");
}

TEST(Deviates, DoNotDependOnHowManyAreAskedFor) {
  std::vector<float> few(7), many(64);
  fill_normal(few, 1, 1, 1.0F);
  fill_normal(many, 1, 1, 1.0F);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
}

}  // namespace
}  // namespace mh::model
