// Whole models: presets, the flat vector, what does not fit, and the first parameters.
#include "trainer/model/model_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "plan_fixture.h"
#include "proto/base/sha256.h"
#include "trainer/model/presets.h"

namespace mh::model {
namespace {

LayerSpec linear(std::int64_t out, const std::string& init = "default") {
  return layer("linear", {{"out", out}, {"init", init}});
}

TEST(Presets, CnnHasItsEightyThousandParameters) {
  const ModelPlan made = plan(cnn_layers({}));
  EXPECT_EQ(made.parameter_count, 80'202U);
  EXPECT_EQ(made.layers[6].output_shape, (Shape{512}));
  EXPECT_EQ(made.output_shape, (Shape{10}));
  EXPECT_EQ(made.layers.back().integer("out"), 10);
}

TEST(Presets, CnnGrowsByItsSettings) {
  const ModelPlan made = plan(cnn_layers({{8, 16, 32}, 3, 1, 64, 0.5}));
  // 28 -> 14 -> 7 -> 3 with padding 1.
  EXPECT_EQ(made.layers[9].output_shape, (Shape{288}));
  EXPECT_EQ(made.parameter_count, 80U + 1'168 + 4'640 + 288 * 64 + 64 + 650);
  EXPECT_EQ(made.layers[12].kind, "dropout");
}

TEST(Presets, MlpHasALinearLayerForEachSize) {
  EXPECT_EQ(plan(mlp_layers({})).parameter_count, 784U * 128 + 128 + 128 * 10 + 10);
  EXPECT_EQ(plan(mlp_layers({{}, "relu", 0})).parameter_count, 7'850U);
  const ModelPlan made = plan(mlp_layers({{300, 100}, "gelu", 0.1}));
  std::string kinds;
  for (const LayerPlan& layer : made.layers) kinds += layer.kind + " ";
  EXPECT_EQ(kinds, "flatten linear gelu dropout linear gelu dropout linear ");
  EXPECT_EQ(made.parameter_count, 266'610U);
}

TEST(ModelPlan, LaysParametersOutWithoutGaps) {
  const ModelPlan made = plan(cnn_layers({}));
  std::uint64_t offset = 0;
  std::string names;
  for (const ParameterSpec& parameter : made.parameters) {
    EXPECT_EQ(parameter.offset, offset);
    EXPECT_EQ(static_cast<std::int64_t>(parameter.count), element_count(parameter.shape));
    offset += parameter.count;
    names += parameter.name + " ";
  }
  EXPECT_EQ(offset, made.parameter_count);
  EXPECT_EQ(names, "0.weight 0.bias 3.weight 3.bias 7.weight 7.bias 9.weight 9.bias ");
  EXPECT_EQ(made.layers[7].first_parameter, 4U);
  EXPECT_EQ(made.layers[7].parameter_tensors, 2U);
  EXPECT_EQ(made.flops_per_sample, 3 * made.forward_flops);
}

TEST(ModelPlan, LayoutDigestIsThatOfTheDocumentedText) {
  const ModelPlan made = plan({layer("flatten"), linear(10)});
  EXPECT_EQ(made.layout_digest, sha256(std::string_view("manyhands-layout/1\n1.weight f32 10x784\n"
                                                        "1.bias f32 10\n")));
}

TEST(ModelPlan, GivesTheLossTheShapeThatItWants) {
  const SampleInfo numbers = {{8}, false, {2, 3}, false, 0};
  const ModelSpec spec = {{linear(6)}, Loss::kMeanSquaredError};
  EXPECT_NE(plan_model(spec, numbers).error().message.find("needs 2×3"), std::string::npos);
  const SampleInfo one = {{8}, false, {}, false, 0};
  const auto scalar = plan_model({{layer("linear")}, Loss::kMeanSquaredError}, one);
  ASSERT_TRUE(scalar.has_value());
  EXPECT_EQ(scalar->output_shape, (Shape{1}));
  EXPECT_EQ(scalar->target_shape, (Shape{1}));
  // Several class numbers a sample: a row of logits for each.
  const SampleInfo many = {{5, 8}, false, {5}, true, 4};
  EXPECT_EQ(plan({layer("linear")}, many).output_shape, (Shape{5, 4}));
}

TEST(ModelPlan, RefusesWhatCannotBe) {
  EXPECT_NE(plan_problem({}).find("has no layers"), std::string::npos);
  EXPECT_NE(plan_problem({layer("flatten")}).find("the model's output is 784"), std::string::npos);
  EXPECT_NE(plan_problem({layer("relu")}, {{10}, false, {}, true, 10}).find("no parameters"),
            std::string::npos);
  EXPECT_NE(plan_problem(std::vector<LayerSpec>(1'001, layer("relu"))).find("at most 1,000"),
            std::string::npos);
  EXPECT_NE(plan_problem({layer("flatten"), {"dense", {}}}).find("layer 1: unknown kind 'dense'"),
            std::string::npos);
  EXPECT_NE(plan_problem({linear(10)}, {{0}, false, {}, true, 10}).find("none of size 0"),
            std::string::npos);
  EXPECT_NE(plan_problem({linear(10)}, {{9}, false, {}, true, 0}).find("class numbers"),
            std::string::npos);
}

TEST(ModelPlan, RefusesModelsBeyondTheLimitsWithoutOverflow) {
  const SampleInfo wide = {{1 << 24}, false, {}, true, 10};
  EXPECT_NE(plan_problem({linear(1 << 24), layer("linear")}, wide).find("too large"),
            std::string::npos);
  const SampleInfo tall = {{1 << 14, 1 << 13}, false, {}, true, 10};
  EXPECT_NE(plan_problem({linear(1 << 24), layer("linear")}, tall).find("too large"),
            std::string::npos);
  std::vector<LayerSpec> deep;
  for (int i = 0; i < 12; ++i) deep.push_back(linear(10'000));
  deep.push_back(layer("linear"));
  EXPECT_NE(plan_problem(deep, {{10'000}, false, {}, true, 10}).find("1,073,741,824 parameters"),
            std::string::npos);
}

/// Mean, deviation and largest size of the weights of one linear layer with 400 inputs and 900
/// outputs.
struct Statistics {
  double mean = 0;
  double deviation = 0;
  double largest = 0;
};

Statistics weights_of(const std::string& init) {
  const ModelPlan made = plan({linear(900, init), linear(10)}, {{400}, false, {}, true, 10});
  const std::vector<float> all = initial_parameters(made, 3);
  const auto weights = std::span(all).first(400 * 900);
  Statistics found;
  for (const float value : weights) {
    found.mean += value / 360'000.0;
    found.deviation += static_cast<double>(value) * value / 360'000.0;
    found.largest = std::max(found.largest, std::abs(static_cast<double>(value)));
  }
  found.deviation = std::sqrt(found.deviation);
  return found;
}

void expect_uniform(const std::string& init, double bound) {
  const Statistics found = weights_of(init);
  EXPECT_NEAR(found.mean, 0, 0.01 * bound) << init;
  EXPECT_NEAR(found.deviation, bound / std::sqrt(3.0), 0.01 * bound) << init;
  EXPECT_LE(found.largest, bound * (1 + 1e-6)) << init;
  EXPECT_GT(found.largest, 0.999 * bound) << init;
}

void expect_normal(const std::string& init, double deviation) {
  const Statistics found = weights_of(init);
  EXPECT_NEAR(found.mean, 0, 0.01 * deviation) << init;
  EXPECT_NEAR(found.deviation, deviation, 0.01 * deviation) << init;
  EXPECT_GT(found.largest, 4 * deviation) << init;
}

TEST(FirstParameters, HaveTheScaleOfTheirRule) {
  expect_uniform("default", 1 / std::sqrt(400.0));
  expect_uniform("kaiming_uniform", std::sqrt(6 / 400.0));
  expect_normal("kaiming_normal", std::sqrt(2 / 400.0));
  expect_uniform("xavier_uniform", std::sqrt(6 / 1300.0));
  expect_normal("xavier_normal", std::sqrt(2 / 1300.0));
  EXPECT_EQ(weights_of("zeros").largest, 0);
}

TEST(FirstParameters, OfConvolutionsCountTheWindow) {
  const ModelPlan made = plan({layer("conv2d", {{"out", std::int64_t{8}},
                                                {"kernel", std::int64_t{5}},
                                                {"init", std::string("xavier_uniform")}}),
                               layer("flatten"), layer("linear")});
  EXPECT_EQ(made.parameters[0].init,
            (Initialisation{Initialisation::Kind::kUniform, std::sqrt(6.0 / (25 + 8 * 25))}));
  EXPECT_EQ(made.parameters[1].init, (Initialisation{Initialisation::Kind::kZeros, 0}));
}

TEST(FirstParameters, OfNormsAreOnesAndZeros) {
  const ModelPlan made = plan({layer("flatten"), layer("layer_norm"), layer("linear")});
  const std::vector<float> all = initial_parameters(made, 5);
  EXPECT_EQ(std::set<float>(all.begin(), all.begin() + 784), std::set<float>{1.0F});
  EXPECT_EQ(std::set<float>(all.begin() + 784, all.begin() + 1'568), std::set<float>{0.0F});
}

TEST(FirstParameters, AreAFunctionOfTheSeed) {
  const ModelPlan made = plan(cnn_layers({}));
  const std::vector<float> first = initial_parameters(made, 1);
  EXPECT_EQ(first, initial_parameters(made, 1));
  const std::vector<float> other = initial_parameters(made, 2);
  std::size_t same = 0;
  for (std::size_t i = 0; i < first.size(); ++i) same += first[i] == other[i] ? 1 : 0;
  EXPECT_LT(same, 100U);
}

TEST(FirstParameters, HaveTheRecordedBits) {
  const std::vector<float> cnn = initial_parameters(plan(cnn_layers({})), 1);
  EXPECT_EQ(sha256(std::as_bytes(std::span(cnn))).hex(),
            "7fd9f5941a55201c7b4224e700d2a5a28b788c0b0ea65e6178c4ab15f84f731e");
  const std::vector<float> normal =
      initial_parameters(plan({layer("flatten"), linear(10, "kaiming_normal")}), 1);
  EXPECT_EQ(sha256(std::as_bytes(std::span(normal))).hex(),
            "74acfce0f74c31bfc254f4a4e81dfd1f483c65daba7bff733740d81d08db166f");
}

}  // namespace
}  // namespace mh::model
