// Every number of the reference that our rules cover, to 1e-6: ByzFL's own expected values, and a
// stronger fixture that was computed from the definitions in another language.
#include <algorithm>
#include <cmath>

#include "tests/unit/robust/fixture.h"
#include "trainer/robust/pre.h"
#include "trainer/robust/selection.h"

namespace mh::robust {
namespace {

using Numbers = std::vector<double>;

void expect_near(const std::vector<float>& got, const Numbers& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-6) << what << ", coordinate " << i;
}

void expect_result(const Recipe& recipe, const Vectors& vectors, const Numbers& expected,
                   const std::string& what) {
  const auto result = aggregated(recipe, vectors);
  ASSERT_TRUE(result.has_value()) << what << ": " << result.error().message;
  expect_near(*result, expected, what);
}

struct Golden {
  const char* what;
  Recipe recipe;
  Numbers expected;
};

const Numbers kHonestMean = {0.246555556, -0.532555556, 1.143888889, -1.147333333};
const Numbers kMeanOfAll = {0.529000000, -0.772090909, 1.245000000, -1.338727273};

TEST(Golden, ByzflsOwnExpectedValues) {
  const Numbers middle = {4, 5, 6}, low = {2.5, 3.5, 4.5};
  const Golden cases[] = {
      {"Average", recipe_of(Rule::kMean, 0), middle},
      {"Median", recipe_of(Rule::kMedian, 1), middle},
      {"TrMean(1)", recipe_of(Rule::kTrimmedMean, 1), middle},
      {"CenteredClipping", recipe_of(Rule::kCenteredClipping, 0), middle},
      {"CAF(1)", recipe_of(Rule::kCaf, 1), middle},
      {"GeometricMedian",
       recipe_of(Rule::kGeometricMedian, 1),
       {3.78788764, 4.78788764, 5.78788764}},
      {"Krum(1)", recipe_of(Rule::kKrum, 1), {1, 2, 3}},
      {"MultiKrum(1)", recipe_of(Rule::kMultiKrum, 1), low},
      {"MDA(1)", recipe_of(Rule::kMda, 1), low},
      {"Meamed(1)", recipe_of(Rule::kMeamed, 1), low},
      {"Clipping(2)+NNM(1)+TrMean(1)",
       recipe_of(Rule::kTrimmedMean, 1, {Pre::kClipping, Pre::kNnm}),
       {0.95841302, 1.14416941, 1.3299258}},
  };
  for (const Golden& golden : cases)
    expect_result(golden.recipe, kByzfl, golden.expected, golden.what);
}

/// Row `row` of the pre-aggregated vectors.
std::vector<float> mixed_row(const Mix& mix, const Vectors& vectors, std::size_t row) {
  std::vector<float> out(vectors[0].size());
  Columns columns;
  columns.count = out.size();
  for (const auto& vector : vectors)
    columns.vectors.push_back({.parts = {std::as_bytes(std::span(vector)).data()}});
  EXPECT_TRUE(weighted_sum(columns, mix[row], 1, out, {}));
  return out;
}

TEST(Golden, PreAggregationsByzfl) {
  const Geometry geometry = geometry_of(kByzfl);
  const Mix nnm = nearest_neighbour_mix(geometry, 1);
  expect_near(mixed_row(nnm, kByzfl, 0), {2.5, 3.5, 4.5}, "NNM row 0");
  expect_near(mixed_row(nnm, kByzfl, 1), {2.5, 3.5, 4.5}, "NNM row 1");
  expect_near(mixed_row(nnm, kByzfl, 2), {5.5, 6.5, 7.5}, "NNM row 2");
  expect_near(mixed_row(clipping_mix(geometry, 2.0), kByzfl, 0),
              {0.53452248, 1.06904497, 1.60356745}, "Clipping");
  expect_near(mixed_row(adaptive_clipping_mix(geometry, 1), kByzfl, 2),
              {4.41004009, 5.04004582, 5.67005155}, "ARC");
}

TEST(Golden, CoordinateWiseRulesOfEleven) {
  expect_result(recipe_of(Rule::kMean, 0), kEleven, kMeanOfAll, "mean");
  expect_result(recipe_of(Rule::kMedian, 2), kEleven, {0.451, -1.009, 1.522, -1.254}, "median");
  expect_result(recipe_of(Rule::kTrimmedMean, 2), kEleven,
                {0.441142857, -0.742857143, 1.316285714, -1.356142857}, "trimmed mean");
  expect_result(recipe_of(Rule::kMeamed, 2), kEleven,
                {0.246555556, -0.988888889, 1.405222222, -1.335666667}, "meamed");
}

TEST(Golden, DistanceBasedRulesOfEleven) {
  const Golden cases[] = {
      {"geometric median",
       recipe_of(Rule::kGeometricMedian, 2),
       {0.442365051, -0.680155811, 1.269726563, -1.295804150}},
      {"krum", recipe_of(Rule::kKrum, 2), {0.277, -1.009, 1.528, -1.662}},
      {"multi_krum", recipe_of(Rule::kMultiKrum, 2), kHonestMean},
      {"mda", recipe_of(Rule::kMda, 2), kHonestMean},
      {"centered clipping", recipe_of(Rule::kCenteredClipping, 0), kMeanOfAll},
      {"caf", recipe_of(Rule::kCaf, 2), {0.307997863, -0.594201702, 1.155380039, -1.156102490}},
  };
  for (const Golden& golden : cases)
    expect_result(golden.recipe, kEleven, golden.expected, golden.what);
  Recipe clipping = recipe_of(Rule::kCenteredClipping, 0);
  clipping.iterations = 3;
  clipping.tau = 1;
  expect_result(clipping, kEleven, {0.403738917, -0.613991062, 1.174169202, -1.175381772},
                "centered clipping L=3 tau=1");
  Recipe converged = recipe_of(Rule::kGeometricMedian, 2);
  converged.iterations = 1'000;
  converged.nu = 1e-6;
  expect_result(converged, kEleven, {0.441625589, -0.705100330, 1.276020343, -1.322644338},
                "geometric median, converged");
}

TEST(Golden, KrumInThePapersConvention) {
  Recipe krum = recipe_of(Rule::kKrum, 2);
  krum.convention = Convention::kPaper;
  expect_result(krum, kEleven, {0.277, -1.009, 1.528, -1.662}, "krum, paper");
  krum.rule = Rule::kMultiKrum;
  expect_result(krum, kEleven, {0.222428571, -0.327285714, 1.304285714, -1.356142857},
                "multi_krum, paper");
}

TEST(Golden, KrumScores) {
  const Geometry geometry = geometry_of(kEleven);
  const Numbers byzfl = {15.813624, 24.038846, 18.191919, 25.147983, 19.057323, 19.137053,
                         17.089333, 17.371757, 31.386416, 43.602030, 39.537230};
  const Numbers paper = {12.706186, 19.269819, 13.190584, 18.897674, 14.288296, 16.124282,
                         13.474524, 13.304753, 26.081639, 34.756316, 31.052316};
  const std::vector<double> with_8 = krum_scores(geometry, 8), with_7 = krum_scores(geometry, 7);
  for (std::size_t i = 0; i < byzfl.size(); ++i) {
    // The fixture's numbers are rounded to float32 here.
    EXPECT_NEAR(with_8[i], byzfl[i], 2e-6) << i;
    EXPECT_NEAR(with_7[i], paper[i], 2e-6) << i;
  }
}

TEST(Golden, DiameterOfTheBestSubset) {
  const Geometry geometry = geometry_of(kEleven);
  const std::vector<std::size_t> best = smallest_diameter(geometry, 2);
  EXPECT_EQ(best, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  double diameter = 0;
  for (const std::size_t i : best) {
    for (const std::size_t j : best) diameter = std::max(diameter, geometry.squared_distance(i, j));
  }
  EXPECT_NEAR(std::sqrt(diameter), 2.500061799, 1e-6);
}

TEST(Golden, PreAggregationsOfEleven) {
  const Geometry geometry = geometry_of(kEleven);
  expect_near(mixed_row(nearest_neighbour_mix(geometry, 2), kEleven, 9),
              {0.743111111, -0.791333333, 1.319777778, -1.449333333}, "NNM row 9");
  const Mix arc = adaptive_clipping_mix(geometry, 2);
  expect_near(mixed_row(arc, kEleven, 9), {1.212567399, -1.116838393, 1.148748062, -1.467844746},
              "ARC row 9");
  EXPECT_NEAR(arc[9][0].weight * geometry.norm(9), 2.488340411, 1e-6);
  int clipped = 0;
  for (const auto& row : arc) clipped += row[0].weight < 1 ? 1 : 0;
  EXPECT_EQ(clipped, 3);
}

TEST(Golden, CompositionsOfEleven) {
  const Golden cases[] = {
      {"NNM + TrMean",
       recipe_of(Rule::kTrimmedMean, 2, {Pre::kNnm}),
       {0.369253968, -0.613396825, 1.200904762, -1.217142857}},
      {"NNM + Median", recipe_of(Rule::kMedian, 2, {Pre::kNnm}), kHonestMean},
      {"NNM + Krum", recipe_of(Rule::kKrum, 2, {Pre::kNnm}), kHonestMean},
      {"NNM + GM",
       recipe_of(Rule::kGeometricMedian, 2, {Pre::kNnm}),
       {0.343936315, -0.593606712, 1.186428680, -1.201777962}},
      {"ARC + TrMean",
       recipe_of(Rule::kTrimmedMean, 2, {Pre::kArc}),
       {0.438319273, -0.710846518, 1.172868047, -1.195795242}},
      {"Clipping(2) + NNM + TrMean",
       recipe_of(Rule::kTrimmedMean, 2, {Pre::kClipping, Pre::kNnm}),
       {0.432810630, -0.521945441, 1.092304718, -1.114728768}},
  };
  for (const Golden& golden : cases)
    expect_result(golden.recipe, kEleven, golden.expected, golden.what);
  Recipe buckets = recipe_of(Rule::kMedian, 2, {Pre::kBucketing});
  buckets.bucket_size = 2;
  buckets.bucket_order_is_given = true;
  expect_result(buckets, kEleven, {0.649250000, -0.890750000, 1.246750000, -1.463250000},
                "Bucketing(2), identity order, then Median");
}

}  // namespace
}  // namespace mh::robust
