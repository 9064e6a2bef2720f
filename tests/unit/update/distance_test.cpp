// Distances of updates (trainer/update/distance.h).
#include "trainer/update/distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mh::update {
namespace {

std::vector<model::ParameterSpec> layout_of(std::vector<std::uint64_t> counts) {
  std::vector<model::ParameterSpec> layout;
  std::uint64_t offset = 0;
  for (const std::uint64_t count : counts) {
    model::ParameterSpec tensor;
    tensor.name = "t" + std::to_string(layout.size());
    tensor.offset = offset;
    tensor.count = count;
    offset += count;
    layout.push_back(tensor);
  }
  return layout;
}

TEST(MeasureDistance, IsZeroForEqualUpdates) {
  const std::vector<float> a{1, 2, 3, 4};
  const auto distance = measure_distance(a, a, layout_of({2, 2}));
  ASSERT_TRUE(distance.has_value());
  EXPECT_EQ(distance->relative_l2, 0);
  EXPECT_NEAR(distance->one_minus_cosine, 0, 1e-15);
}

TEST(MeasureDistance, OfASignFlipIsTwo) {
  const std::vector<float> a{3, 4};
  const std::vector<float> b{-3, -4};
  const auto distance = measure_distance(a, b, layout_of({2}));
  EXPECT_NEAR(distance->relative_l2, 2, 1e-12);
  EXPECT_NEAR(distance->one_minus_cosine, 2, 1e-12);
}

TEST(MeasureDistance, TakesTheTensorThatIsFurthestApart) {
  const std::vector<float> a{100, 0, 1, 0};
  const std::vector<float> b{100, 0, 0, 1};
  const auto distance = measure_distance(a, b, layout_of({2, 2}));
  EXPECT_NEAR(distance->relative_l2, std::sqrt(2.0), 1e-12);
  EXPECT_LT(distance->one_minus_cosine, 1e-3) << "the whole hardly turned";
}

TEST(MeasureDistance, MeasuresTinyTensorsAgainstTheWhole) {
  const std::vector<float> a{1000, 1e-6F};
  const std::vector<float> b{1000, -1e-6F};
  EXPECT_NEAR(measure_distance(a, b, layout_of({1, 1}))->relative_l2, 2e-6, 1e-8);
}

TEST(MeasureDistance, OfNothingAndSomethingIsOne) {
  const std::vector<float> a{0, 0};
  const std::vector<float> b{1, 2};
  const auto distance = measure_distance(a, b, layout_of({2}));
  EXPECT_NEAR(distance->relative_l2, 1, 1e-12);
  EXPECT_EQ(distance->one_minus_cosine, 1);
  EXPECT_EQ(measure_distance(a, a, layout_of({2}))->relative_l2, 0);
}

TEST(MeasureDistance, RefusesALayoutThatDoesNotFit) {
  const std::vector<float> a{1, 2, 3};
  const std::vector<float> b{1, 2};
  EXPECT_FALSE(measure_distance(a, b, layout_of({3})).has_value());
  EXPECT_FALSE(measure_distance(a, a, layout_of({2})).has_value());
  EXPECT_FALSE(measure_distance(a, a, layout_of({4})).has_value());
}

}  // namespace
}  // namespace mh::update
