// The attacks against the numbers that others got: ByzFL's documentation, and a fixture without
// ties.
#include "tests/bench/attack/vectors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "trainer/robust/aggregate.h"

namespace mh::attack {
namespace {

const std::vector<Vector> kByzfl = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
const std::vector<Vector> kNine = {
    {0.277F, -1.009F, 1.528F, -1.662F},  {1.047F, -1.216F, 0.927F, -0.405F},
    {0.233F, 0.233F, 1.633F, -1.033F},   {-0.193F, 0.150F, 0.899F, -2.092F},
    {-0.484F, -0.085F, 1.579F, -1.254F}, {0.451F, -1.253F, 1.159F, -1.912F},
    {0.531F, 0.174F, 0.810F, -0.991F},   {0.742F, -0.501F, 1.522F, -0.549F},
    {-0.385F, -1.286F, 0.238F, -0.428F}};

void expect_near(const Vector& found, const std::vector<double>& wanted, double tolerance = 2e-6) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], wanted[i], tolerance) << i;
}

using Attack = Vector (*)(Vectors, double);

// How far `f` copies of the attack move the aggregate from the honest mean.
double damage_of(const robust::Recipe& recipe, Vectors honest, const Vector& attack) {
  std::vector<robust::Input> inputs;
  for (const Vector& vector : honest) inputs.push_back({"", std::as_bytes(std::span(vector))});
  for (std::size_t i = 0; i < recipe.f; ++i)
    inputs.push_back({"", std::as_bytes(std::span(attack))});
  Vector out(attack.size());
  const auto outcome = robust::aggregate(recipe, inputs, {}, out, {});
  EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message);
  const Vector mean = mean_of(honest);
  double sum = 0;
  for (std::size_t i = 0; i < out.size(); ++i) sum += std::pow(double{out[i]} - mean[i], 2);
  return std::sqrt(sum);
}

double best_tau(const robust::Recipe& recipe, Vectors honest, Attack attack) {
  return line_search([&](double tau) { return damage_of(recipe, honest, attack(honest, tau)); });
}

robust::Recipe recipe_of(robust::Rule rule, std::uint64_t f, std::vector<robust::Pre> pre) {
  robust::Recipe recipe;
  recipe.rule = rule;
  recipe.f = f;
  recipe.pre = std::move(pre);
  return recipe;
}

TEST(AttackVectors, AreThoseOfByzfl) {
  expect_near(inner_product_attack(kByzfl, 1), {-4, -5, -6});
  expect_near(inner_product_attack(kByzfl, 2), {-8, -10, -12});
  expect_near(little_is_enough(kByzfl, 1.5), {8.5, 9.5, 10.5});
}

TEST(AttackVectors, AreThoseOfTheFixtureWithoutTies) {
  expect_near(little_is_enough(kNine, 1.5), {1.021595595, 0.464309029, 1.847134756, -0.196076664});
  expect_near(inner_product_attack(kNine, 2),
              {-0.493111111, 1.065111111, -2.287777778, 2.294666667});
}

TEST(AttackVectors, TheLittleThatIsEnoughFollowsFromTheNumbersOfHosts) {
  EXPECT_NEAR(little_is_enough_z_max(11, 2), 0.1397, 5e-5);
  EXPECT_NEAR(little_is_enough_z_max(20, 4), 0.1573, 5e-5);
  EXPECT_NEAR(little_is_enough_z_max(25, 5), 0.2533, 5e-5);
  EXPECT_NEAR(little_is_enough_z_max(50, 12), 0.3360, 5e-5);
  EXPECT_NEAR(little_is_enough_z_max(100, 20), 0.2858, 5e-5);
  EXPECT_NEAR(little_is_enough_z_max(10, 2), 0, 1e-12);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963985, 1e-9);
}

TEST(AttackVectors, OptimisedOnesAreThoseOfByzfl) {
  using robust::Pre;
  const auto recipe = recipe_of(robust::Rule::kTrimmedMean, 1, {Pre::kNnm, Pre::kClipping});
  const double inner = best_tau(recipe, kByzfl, inner_product_attack);
  EXPECT_NEAR(inner, 0.68719477, 1e-8);
  expect_near(inner_product_attack(kByzfl, inner), {-2.74877907, -3.43597384, -4.1231686});
  const double little = best_tau(recipe, kByzfl, little_is_enough);
  EXPECT_NEAR(little, 2.97328372, 1e-8);
  expect_near(little_is_enough(kByzfl, little), {12.91985116, 13.91985116, 14.91985116});
}

TEST(AttackVectors, OptimisedOnesFindTheWeakSpotOfEachRule) {
  using robust::Pre;
  using robust::Rule;
  const auto tau = [](Rule rule, std::vector<Pre> pre) {
    return best_tau(recipe_of(rule, 2, std::move(pre)), kNine, little_is_enough);
  };
  EXPECT_NEAR(tau(Rule::kTrimmedMean, {}), 10, 1e-6);
  EXPECT_NEAR(tau(Rule::kTrimmedMean, {Pre::kNnm}), 2.097152, 1e-6);
  EXPECT_NEAR(tau(Rule::kKrum, {Pre::kNnm}), 1.781981931, 1e-6);
  EXPECT_NEAR(tau(Rule::kMedian, {Pre::kNnm}), 1.6777216, 1e-6);
}

TEST(AttackVectors, FlippedBitsAreAsManyAsWereAskedForAndRepeatable) {
  const Vector zeros(1000);
  const Vector once = with_flipped_bits(zeros, 3, 5, 6);
  std::size_t changed = 0;
  for (const float value : once) changed += std::signbit(value) || value != 0 ? 1 : 0;
  EXPECT_EQ(changed, 3U);
  EXPECT_EQ(once, with_flipped_bits(zeros, 3, 5, 6));
}

}  // namespace
}  // namespace mh::attack
