// What holds for every rule: order, tiles, threads and targets change no bit; bad input is refused.
#include "trainer/robust/aggregate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "proto/base/random.h"
#include "tests/unit/robust/fixture.h"

namespace mh::robust {
namespace {

constexpr Rule kAllRules[] = {
    Rule::kMean,      Rule::kMedian,          Rule::kTrimmedMean,      Rule::kMeamed, Rule::kKrum,
    Rule::kMultiKrum, Rule::kGeometricMedian, Rule::kCenteredClipping, Rule::kMda,    Rule::kCaf};

/// Around a common vector, of very different size, with outliers and exact ties.
Vectors wild_vectors(std::size_t count, std::size_t elements, std::uint64_t seed) {
  Vectors vectors(count, std::vector<float>(elements));
  for (std::size_t i = 0; i < count; ++i) {
    Philox4x32 common(seed), own(seed, i + 1);
    for (float& value : vectors[i]) {
      value = (uniform_float(common.next()) + (uniform_float(own.next()) - 0.5F) * 0.5F) *
              std::ldexp(1.0F, static_cast<int>(common.below(40)) - 20);
      if (own.below(10) == 0) value = -0.0F;
    }
  }
  if (count > 4) vectors[3] = vectors[1];
  return vectors;
}

std::vector<Recipe> all_recipes() {
  std::vector<Recipe> recipes;
  const std::vector<std::vector<Pre>> chains = {{},
                                                {Pre::kNnm},
                                                {Pre::kArc, Pre::kNnm},
                                                {Pre::kBucketing},
                                                {Pre::kClipping, Pre::kBucketing}};
  for (const Rule rule : kAllRules) {
    for (const auto& pre : chains) {
      Recipe recipe = recipe_of(rule, 2, pre);
      recipe.bucket_size = 2;
      recipe.bucket_seed = 7;
      recipes.push_back(recipe);
    }
  }
  return recipes;
}

std::string text_of(const Recipe& recipe) {
  std::string text(name_of(recipe.rule));
  for (const Pre pre : recipe.pre) text += " after " + std::string(name_of(pre));
  return text;
}

bool has_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Aggregate, HasTheSameBitsInWhateverOrderTheInputsCome) {
  const Vectors vectors = wild_vectors(11, 301, 1);
  for (const Recipe& recipe : all_recipes()) {
    const auto expected = aggregated(recipe, vectors);
    ASSERT_TRUE(expected.has_value()) << text_of(recipe) << ": " << expected.error().message;
    Vectors others = vectors;
    Philox4x32 random(2);
    for (int turn = 0; turn < 5; ++turn) {
      for (std::size_t i = others.size(); i > 1; --i)
        std::swap(others[i - 1], others[random.below(i)]);
      ASSERT_TRUE(has_same_bits(*aggregated(recipe, others), *expected)) << text_of(recipe);
    }
  }
}

TEST(Aggregate, HasTheSameBitsWithAnyTilesThreadsAndProcessor) {
  const Vectors vectors = wild_vectors(11, 70'003, 3);
  for (const Recipe& recipe : all_recipes()) {
    const auto expected = aggregated(recipe, vectors);
    ASSERT_TRUE(expected.has_value()) << text_of(recipe) << ": " << expected.error().message;
    PassOptions options;
    options.threads = 3;
    options.tile_bytes = 1'024;
    ASSERT_TRUE(has_same_bits(*aggregated(recipe, vectors, options), *expected)) << text_of(recipe);
    options.tile_bytes = 1 << 20;
    options.kernels = &baseline_kernels();
    ASSERT_TRUE(has_same_bits(*aggregated(recipe, vectors, options), *expected)) << text_of(recipe);
  }
}

TEST(Aggregate, ReadsUnalignedInputs) {
  const Vectors vectors = wild_vectors(5, 1'003, 4);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<Input> inputs;
  for (const auto& vector : vectors) {
    const auto values = std::as_bytes(std::span(vector));
    bytes.emplace_back(values.size() + 1);
    std::copy(values.begin(), values.end(), bytes.back().begin() + 1);
  }
  for (const auto& copy : bytes) inputs.push_back({"copy", std::span(copy).subspan(1)});
  for (const Rule rule : kAllRules) {
    const Recipe recipe = recipe_of(rule, 1);
    std::vector<float> out(1'003);
    ASSERT_TRUE(aggregate(recipe, inputs, {}, out, {}).has_value());
    EXPECT_TRUE(has_same_bits(out, *aggregated(recipe, vectors))) << name_of(rule);
  }
}

TEST(Aggregate, TakesVectorsInPartsAsIfTheyWereWrittenDown) {
  constexpr std::size_t kElements = 5'003;
  const Vectors parts = wild_vectors(17, kElements, 5);
  // Eleven vectors of one, two or three parts, by their samples.
  std::vector<Input> in_parts;
  Vectors written;
  for (std::size_t at = 0, count = 1; at < parts.size(); at += count) {
    count = std::min<std::size_t>(1 + in_parts.size() % 2, parts.size() - at);
    Input& input = in_parts.emplace_back();
    input.name = "vector";
    input.sample_count = 32 * count;
    std::vector<double> sum(kElements);
    for (std::size_t part = at; part < at + count; ++part) {
      input.sums.emplace_back(parts[part]);
      for (std::size_t i = 0; i < kElements; ++i) sum[i] += static_cast<double>(parts[part][i]);
    }
    std::vector<float>& vector = written.emplace_back();
    for (const double value : sum)
      vector.push_back(static_cast<float>(value / static_cast<double>(32 * count)));
  }
  ASSERT_GT(written.size(), 9u);
  for (const Recipe& recipe : all_recipes()) {
    std::vector<float> out(kElements);
    PassOptions options;
    options.threads = 2;
    const auto done = aggregate(recipe, in_parts, {}, out, options);
    ASSERT_TRUE(done.has_value()) << text_of(recipe) << done.error().message;
    EXPECT_TRUE(has_same_bits(out, *aggregated(recipe, written))) << text_of(recipe);
  }
}

TEST(Aggregate, RefusesNaNAndInfinityAndSaysWhere) {
  const float bad_values[] = {std::nanf(""), INFINITY, -INFINITY};
  const char* const names[] = {"NaN", "infinite", "-infinite"};
  for (const Recipe& recipe : all_recipes()) {
    for (std::size_t kind = 0; kind < 3; ++kind) {
      Vectors vectors = wild_vectors(11, 301, 5);
      vectors[6][300] = bad_values[kind];
      EXPECT_EQ(message_of(recipe, vectors), std::string("input 6: element 300 is ") + names[kind])
          << text_of(recipe);
    }
  }
}

TEST(Aggregate, NamesTheTensorOfABadValue) {
  const Vectors vectors = {{1, 2, 3}, {4, 5, std::nanf("")}};
  std::vector<model::ParameterSpec> layout(2);
  layout[0].name = "weight";
  layout[0].count = 2;
  layout[1].name = "bias";
  layout[1].offset = 2;
  layout[1].count = 1;
  std::vector<float> out(3);
  EXPECT_EQ(
      aggregate(recipe_of(Rule::kMedian, 0), inputs_of(vectors), layout, out, {}).error().message,
      "input 1: tensor bias, element 0 is NaN");
}

TEST(Aggregate, SaysWhichConditionDoesNotHold) {
  const Vectors five(5, {1.0F});
  EXPECT_EQ(message_of(recipe_of(Rule::kTrimmedMean, 3), five),
            "trimmed_mean needs 2f < n: f = 3, n = 5");
  EXPECT_EQ(message_of(recipe_of(Rule::kMedian, UINT64_MAX), five),
            "median needs 2f < n: f = 18446744073709551615, n = 5");
  Recipe krum = recipe_of(Rule::kKrum, 2);
  EXPECT_EQ(message_of(krum, five), "no error");
  krum.convention = Convention::kPaper;
  EXPECT_EQ(message_of(krum, five), "krum needs n >= 2f+3 in the paper's convention: f = 2, n = 5");
  Recipe multi = recipe_of(Rule::kMultiKrum, 1);
  multi.q = 6;
  EXPECT_EQ(message_of(multi, five), "multi_krum needs 1 <= q <= n: q = 6, f = 1, n = 5");
  Recipe buckets = recipe_of(Rule::kMedian, 2, {Pre::kBucketing});
  buckets.bucket_size = 2;
  EXPECT_EQ(message_of(buckets, five), "median needs 2f < n: f = 2, n = 3 (buckets of 5 inputs)");
  EXPECT_EQ(message_of(recipe_of(Rule::kMda, 20), Vectors(41, {1.0F})),
            "mda needs at most 50,000,000 subsets of n-f vectors: f = 20, n = 41");
}

TEST(Aggregate, RefusesAnInputOfAnotherSize) {
  EXPECT_EQ(message_of(recipe_of(Rule::kMean, 0), {{1, 2}, {1}}),
            "input 1 has 1 elements, expected 2");
}

TEST(Aggregate, KeepsDenormals) {
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const Vectors vectors = {{3 * kTiny}, {kTiny}, {5 * kTiny}};
  for (const Rule rule : {Rule::kMean, Rule::kMedian, Rule::kTrimmedMean}) {
    const auto result = aggregated(recipe_of(rule, rule == Rule::kMean ? 0 : 1), vectors);
    EXPECT_EQ((*result)[0], 3 * kTiny) << name_of(rule);
  }
}

TEST(Aggregate, IsNotThrownOffByAHugeVector) {
  Vectors vectors = {{1, 2}, {1.5F, 2}, {1, 2.25F}, {3e38F, -3e38F}};
  for (const Rule rule : {Rule::kMultiKrum, Rule::kMda, Rule::kMedian, Rule::kTrimmedMean}) {
    const auto result = aggregated(recipe_of(rule, 1), vectors);
    EXPECT_LT((*result)[0], 2) << name_of(rule);
    EXPECT_GE((*result)[1], 1.9F) << name_of(rule);
  }
  EXPECT_EQ((*aggregated(recipe_of(Rule::kMultiKrum, 1), vectors))[0], 3.5F / 3);
}

TEST(Aggregate, TellsCloseVectorsApartFarFromZero) {
  // Distances of 1e-3 and 2e-3 beside norms of 1e6; their products alone would not tell.
  Vectors vectors(5, std::vector<float>(1'000, 32'768.0F));
  for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i][i] += 0.00390625F * float(i + 1);
  vectors[4][7] = 32'800.0F;
  std::vector<float> out(1'000);
  const auto outcome = aggregate(recipe_of(Rule::kMultiKrum, 1), inputs_of(vectors), {}, out, {});
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->passes, 3);
  EXPECT_EQ(outcome->weights, (std::vector<double>{0.25, 0.25, 0.25, 0.25, 0}));
  // The nearest to the others is the one that moved least.
  ASSERT_TRUE(aggregate(recipe_of(Rule::kKrum, 1), inputs_of(vectors), {}, out, {}).has_value());
  EXPECT_TRUE(has_same_bits(out, vectors[0]));
}

TEST(Aggregate, TakesOneInput) {
  for (const Rule rule : kAllRules) {
    const auto result = aggregated(recipe_of(rule, 0), {{1.5F, -2}});
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_EQ((*result)[1], -2) << name_of(rule);
  }
}

}  // namespace
}  // namespace mh::robust
