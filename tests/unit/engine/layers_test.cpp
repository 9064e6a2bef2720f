// Every layer kind's hand-written backward pass against torch's autograd on the same numbers.
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <functional>

#include "trainer/engine/layer_module.h"
#include "trainer/model/layer_kind.h"
#include "trainer/model/model_plan.h"

namespace mh::engine {
namespace {

constexpr std::int64_t kRows = 3;
constexpr double kTolerance = 2e-5;

using Tensors = std::vector<at::Tensor>;
/// The layer as autograd computes it.
using Formula = std::function<at::Tensor(const at::Tensor& input, const Tensors& parameters)>;

struct Case {
  std::string kind;
  model::Settings settings;
  model::Shape input_shape;
  Formula formula;
  bool is_index = false;
};

model::LayerPlan plan_of(const Case& layer, Tensors& parameters) {
  model::ModelSpec spec;
  spec.loss = model::Loss::kMeanSquaredError;
  spec.layers.push_back({layer.kind, layer.settings});
  fill_defaults(*model::find_layer_kind(layer.kind), spec.layers.back().settings);
  // What the layer makes of its shape is known only afterwards: ask with every wrong target and
  // read the shape off a flatten and linear behind it, which take anything.
  if (layer.kind != "flatten") spec.layers.push_back({"flatten", {}});
  spec.layers.push_back({"linear", {{"out", std::int64_t{2}}}});
  fill_defaults(*model::find_layer_kind("linear"), spec.layers.back().settings);
  model::SampleInfo info;
  info.input_shape = layer.input_shape;
  info.input_is_integer = layer.is_index;
  info.target_shape = {2};
  const auto plan = model::plan_model(spec, info);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().message);
  const model::LayerPlan& found = plan->layers[0];
  for (std::size_t i = 0; i < found.parameter_tensors; ++i) {
    parameters.push_back(at::randn(plan->parameters[found.first_parameter + i].shape));
  }
  return found;
}

class LayerKinds : public testing::TestWithParam<bool> {
 protected:
  /// Compares output, input gradient and parameter gradients.
  void expect_autograd(const Case& layer) {
    SCOPED_TRACE(layer.kind);
    Tensors parameters;
    const model::LayerPlan plan = plan_of(layer, parameters);
    std::vector<std::int64_t> sizes{kRows};
    sizes.insert(sizes.end(), layer.input_shape.begin(), layer.input_shape.end());
    at::Tensor input = layer.is_index ? at::randint(5, sizes, at::kLong) : at::randn(sizes);
    Tensors gradients;
    for (const at::Tensor& parameter : parameters) gradients.push_back(at::zeros_like(parameter));

    Tensors wanted_parameters;
    for (const at::Tensor& p : parameters) {
      wanted_parameters.push_back(p.clone().requires_grad_(true));
    }
    at::Tensor wanted_input = layer.is_index ? input : input.clone().requires_grad_(true);
    const at::Tensor wanted = layer.formula(wanted_input, wanted_parameters);
    const at::Tensor output_gradient = at::randn(wanted.sizes());
    at::mul(wanted, output_gradient).sum().backward();

    const std::unique_ptr<LayerModule> module = make_layer_module(plan, 0, GetParam());
    ASSERT_NE(module, nullptr);
    const c10::InferenceMode guard;
    module->load(parameters);
    BatchContext context;
    context.is_training = true;
    const at::Tensor output = module->forward(input, context);
    const at::Tensor input_gradient = module->backward(output_gradient, !layer.is_index, gradients);
    expect_close(output, wanted.detach(), "output");
    if (!layer.is_index) expect_close(input_gradient, wanted_input.grad(), "input gradient");
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      expect_close(gradients[i], wanted_parameters[i].grad(), "parameter gradient");
    }
  }

  static void expect_close(const at::Tensor& present, const at::Tensor& wanted, const char* what) {
    ASSERT_EQ(present.sizes(), wanted.sizes()) << what;
    EXPECT_TRUE(at::allclose(present.contiguous(), wanted.contiguous(), kTolerance, kTolerance))
        << what;
  }
};

const std::int64_t kTwo[] = {2, 2};
const std::int64_t kThree[] = {3, 3};
const std::int64_t kOne[] = {1, 1};

TEST_P(LayerKinds, LinearWithAndWithoutBias) {
  expect_autograd({"linear", {{"out", std::int64_t{4}}}, {6}, [](const auto& x, const auto& p) {
                     return at::linear(x, p[0], p[1]);
                   }});
  expect_autograd({"linear",
                   {{"out", std::int64_t{4}}, {"bias", false}},
                   {5, 6},
                   [](const auto& x, const auto& p) { return at::linear(x, p[0]); }});
}

TEST_P(LayerKinds, Conv2dOfImagesAndOfSingleChannels) {
  expect_autograd({"conv2d",
                   {{"out", std::int64_t{4}}, {"kernel", std::int64_t{3}}},
                   {2, 7, 6},
                   [](const auto& x, const auto& p) { return at::conv2d(x, p[0], p[1]); }});
  expect_autograd(
      {"conv2d",
       {{"out", std::int64_t{3}}, {"kernel", std::int64_t{5}}},
       {8, 8},
       [](const auto& x, const auto& p) { return at::conv2d(x.unsqueeze(1), p[0], p[1]); }});
}

TEST_P(LayerKinds, Conv2dWithStridePaddingDilationAndGroups) {
  expect_autograd(
      {"conv2d",
       {{"out", std::int64_t{4}},
        {"kernel", std::int64_t{3}},
        {"stride", std::int64_t{2}},
        {"padding", std::int64_t{1}},
        {"dilation", std::int64_t{2}},
        {"groups", std::int64_t{2}},
        {"bias", false}},
       {2, 9, 9},
       [](const auto& x, const auto& p) { return at::conv2d(x, p[0], {}, kTwo, kOne, kTwo, 2); }});
}

TEST_P(LayerKinds, Pools) {
  expect_autograd(
      {"max_pool", {{"kernel", std::int64_t{2}}}, {2, 6, 6}, [](const auto& x, const auto&) {
         return at::max_pool2d(x, kTwo);
       }});
  expect_autograd(
      {"max_pool",
       {{"kernel", std::int64_t{3}}, {"stride", std::int64_t{2}}, {"padding", std::int64_t{1}}},
       {2, 7, 7},
       [](const auto& x, const auto&) { return at::max_pool2d(x, kThree, kTwo, kOne); }});
  expect_autograd(
      {"avg_pool",
       {{"kernel", std::int64_t{3}}, {"stride", std::int64_t{2}}, {"padding", std::int64_t{1}}},
       {2, 7, 7},
       [](const auto& x, const auto&) { return at::avg_pool2d(x, kThree, kTwo, kOne); }});
}

TEST_P(LayerKinds, Activations) {
  expect_autograd({"relu", {}, {4, 5}, [](const auto& x, const auto&) { return at::relu(x); }});
  expect_autograd({"gelu", {}, {4, 5}, [](const auto& x, const auto&) { return at::gelu(x); }});
  expect_autograd({"tanh", {}, {4, 5}, [](const auto& x, const auto&) { return at::tanh(x); }});
}

TEST_P(LayerKinds, Flatten) {
  expect_autograd({"flatten", {}, {2, 3, 4}, [](const auto& x, const auto&) {
                     return x.reshape({kRows, -1});
                   }});
}

TEST_P(LayerKinds, Norms) {
  expect_autograd({"layer_norm", {}, {4, 6}, [](const auto& x, const auto& p) {
                     return at::layer_norm(x, {6}, p[0], p[1], 1e-5);
                   }});
  expect_autograd({"layer_norm", {{"affine", false}}, {6}, [](const auto& x, const auto&) {
                     return at::layer_norm(x, {6}, {}, {}, 1e-5);
                   }});
  expect_autograd(
      {"group_norm", {{"groups", std::int64_t{2}}}, {4, 3, 3}, [](const auto& x, const auto& p) {
         return at::group_norm(x, 2, p[0], p[1], 1e-5);
       }});
}

TEST_P(LayerKinds, Embedding) {
  Case layer{"embedding",
             {{"num", std::int64_t{5}}, {"dim", std::int64_t{3}}},
             {4},
             [](const auto& x, const auto& p) { return at::embedding(p[0], x); }};
  layer.is_index = true;
  expect_autograd(layer);
}

INSTANTIATE_TEST_SUITE_P(Formats, LayerKinds, testing::Bool(), [](const auto& format) {
  return format.param ? "ChannelsLast" : "ChannelsFirst";
});

TEST(EngineRegistry, HasAModuleForEveryKindOfTheModelRegistry) {
  for (const std::string_view kind : model::layer_kind_names()) {
    model::LayerPlan plan;
    plan.kind = kind;
    for (const model::SettingRule& rule : model::find_layer_kind(kind)->settings) {
      plan.settings[std::string(rule.name)] =
          rule.default_value ? *rule.default_value : model::SettingValue(std::int64_t{2});
    }
    plan.input_shape = {4, 6, 6};
    EXPECT_NE(make_layer_module(plan, 0, true), nullptr) << kind;
  }
  model::LayerPlan unknown;
  unknown.kind = "lstm";
  EXPECT_EQ(make_layer_module(unknown, 0, true), nullptr);
}

class DropoutMasks : public testing::Test {
 protected:
  static at::Tensor output(std::uint64_t seed, std::uint64_t layer, std::uint64_t position,
                           std::int64_t rows, bool is_training = true) {
    model::LayerPlan plan;
    plan.kind = "dropout";
    plan.settings = {{"p", 0.25}};
    const auto module = make_layer_module(plan, layer, true);
    const c10::InferenceMode guard;
    BatchContext context;
    context.job_seed = seed;
    context.first_position = position;
    context.is_training = is_training;
    return module->forward(at::randn({rows, 10}).fill_(1), context);
  }
};

TEST_F(DropoutMasks, AreAFunctionOfSeedLayerAndPosition) {
  const at::Tensor whole = output(1, 0, 100, 8);
  EXPECT_TRUE(whole.equal(output(1, 0, 100, 8)));
  EXPECT_TRUE(whole.narrow(0, 3, 5).equal(output(1, 0, 103, 5)));
  EXPECT_FALSE(whole.equal(output(2, 0, 100, 8)));
  EXPECT_FALSE(whole.equal(output(1, 1, 100, 8)));
}

TEST_F(DropoutMasks, DropTheAskedShareAndScaleTheRest) {
  const at::Tensor values = output(1, 0, 0, 4'000);
  EXPECT_NEAR(values.eq(0).sum().item<std::int64_t>() / 40'000.0, 0.25, 0.01);
  EXPECT_FLOAT_EQ(values.max().item<float>(), 1 / 0.75F);
  EXPECT_TRUE(output(1, 0, 0, 4, false).eq(1).all().item<bool>());
}

}  // namespace
}  // namespace mh::engine
