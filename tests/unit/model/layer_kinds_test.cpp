// Every layer kind: shapes, parameters, cost, and what does not fit. Numbers are worked out by
// hand, shapes compared with those of torch's modules.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plan_fixture.h"
#include "proto/base/file.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

constexpr std::int64_t kOne = 1;

std::vector<Shape> parameter_shapes(const LayerOutline& outline) {
  std::vector<Shape> shapes;
  for (const ParameterRule& rule : outline.parameters) shapes.push_back(rule.shape);
  return shapes;
}

TEST(LayerKinds, AreTheTwelveOfTheDocumentation) {
  EXPECT_EQ(joined(layer_kind_names()),
            "avg_pool, conv2d, dropout, embedding, flatten, gelu, group_norm, layer_norm, linear, "
            "max_pool, relu, tanh");
  EXPECT_EQ(find_layer_kind("lstm"), nullptr);
}

TEST(LayerKinds, HaveARowForEachSettingInTheDocumentation) {
  const auto text = read_file(std::string(MH_SOURCE_DIR) + "/docs/job-file.md", 1U << 20);
  ASSERT_TRUE(text.has_value());
  for (const LayerKind* kind : layer_kinds()) {
    const std::size_t begin = text->find("| `" + std::string(kind->name) + "` |");
    ASSERT_NE(begin, std::string::npos) << kind->name;
    const std::string row = text->substr(begin, text->find('\n', begin) - begin);
    for (const SettingRule& rule : kind->settings) {
      EXPECT_NE(row.find("`" + std::string(rule.name)), std::string::npos)
          << kind->name << "." << rule.name;
    }
  }
}

TEST(Linear, MapsTheLastDimension) {
  const LayerOutline flat = outline(layer("linear", {{"out", std::int64_t{3}}}), {5});
  EXPECT_EQ(flat.output_shape, (Shape{3}));
  EXPECT_EQ(parameter_shapes(flat), (std::vector<Shape>{{3, 5}, {3}}));
  EXPECT_EQ(flat.forward_flops, 3 * (2 * 5 + 1));
  EXPECT_EQ(flat.description, "linear 5→3");
  const LayerOutline rows =
      outline(layer("linear", {{"out", std::int64_t{3}}, {"bias", false}}), {7, 2, 5});
  EXPECT_EQ(rows.output_shape, (Shape{7, 2, 3}));
  EXPECT_EQ(parameter_shapes(rows), (std::vector<Shape>{{3, 5}}));
  EXPECT_EQ(rows.forward_flops, 14 * 3 * 2 * 5);
}

TEST(Linear, FindsItsSizeOnlyAtTheEnd) {
  EXPECT_EQ(problem(layer("linear"), {5}),
            "out: is missing; only the last layer of a model may leave it away");
  EXPECT_NE(problem(layer("linear", {{"out", kOne}}), {}).find("put flatten before it"),
            std::string::npos);
}

LayerSpec conv(Settings settings) { return layer("conv2d", std::move(settings)); }

TEST(Conv2d, HasTheShapesOfTorch) {
  using Case = std::pair<Settings, Shape>;
  const std::int64_t out = 6;
  for (const auto& [settings, expected] : std::vector<Case>{
           {{{"kernel", std::int64_t{3}}}, {6, 26, 30}},
           {{{"kernel", std::int64_t{3}}, {"padding", kOne}}, {6, 28, 32}},
           {{{"kernel", std::int64_t{3}}, {"stride", std::int64_t{2}}}, {6, 13, 15}},
           {{{"kernel", std::int64_t{3}}, {"dilation", std::int64_t{4}}}, {6, 20, 24}},
           {{{"kernel", std::int64_t{28}}}, {6, 1, 5}},
           {{{"kernel", kOne}}, {6, 28, 32}}}) {
    Settings all = settings;
    all["out"] = out;
    EXPECT_EQ(outline(conv(all), {3, 28, 32}).output_shape, expected);
  }
}

TEST(Conv2d, CountsParametersAndCostByGroups) {
  const LayerOutline plain =
      outline(conv({{"out", std::int64_t{6}}, {"kernel", std::int64_t{3}}}), {4, 10, 10});
  EXPECT_EQ(parameter_shapes(plain), (std::vector<Shape>{{6, 4, 3, 3}, {6}}));
  EXPECT_EQ(plain.forward_flops, 8 * 8 * 6 * (2 * 4 * 9 + 1));
  const LayerOutline grouped_conv = outline(conv({{"out", std::int64_t{6}},
                                                  {"kernel", std::int64_t{3}},
                                                  {"groups", std::int64_t{2}},
                                                  {"bias", false}}),
                                            {4, 10, 10});
  EXPECT_EQ(parameter_shapes(grouped_conv), (std::vector<Shape>{{6, 2, 3, 3}}));
  EXPECT_EQ(grouped_conv.forward_flops, 8 * 8 * 6 * 2 * 2 * 9);
  EXPECT_EQ(grouped_conv.description, "conv2d 4→6 3×3, groups 2, no bias");
}

TEST(Conv2d, TakesAPlaneAsOneChannel) {
  const LayerOutline plane =
      outline(conv({{"out", std::int64_t{6}}, {"kernel", std::int64_t{3}}}), {10, 12});
  EXPECT_EQ(plane.output_shape, (Shape{6, 8, 10}));
  EXPECT_EQ(parameter_shapes(plane)[0], (Shape{6, 1, 3, 3}));
}

TEST(Conv2d, SaysWhatDoesNotFit) {
  const Settings small = {{"out", std::int64_t{6}}, {"kernel", std::int64_t{3}}};
  EXPECT_NE(problem(conv(small), {784}).find("the input is 784"), std::string::npos);
  EXPECT_NE(problem(conv(small), {1, 1, 9, 9}).find("the input is 1×1×9×9"), std::string::npos);
  EXPECT_NE(problem(conv(small), {1, 2, 9}).find("kernel: is 3"), std::string::npos);
  Settings groups = small;
  groups["groups"] = std::int64_t{4};
  EXPECT_EQ(problem(conv(groups), {8, 9, 9}),
            "groups: is 4, which must divide the 8 input channels and out, 6");
}

TEST(Pools, HaveTheShapesOfTorch) {
  for (const char* kind : {"max_pool", "avg_pool"}) {
    const auto pooled = [&](Settings settings) {
      return outline(layer(kind, std::move(settings)), {3, 24, 25});
    };
    EXPECT_EQ(pooled({{"kernel", std::int64_t{2}}}).output_shape, (Shape{3, 12, 12}));
    EXPECT_EQ(pooled({{"kernel", std::int64_t{3}}, {"stride", kOne}}).output_shape,
              (Shape{3, 22, 23}));
    EXPECT_EQ(pooled({{"kernel", std::int64_t{3}}, {"padding", kOne}}).output_shape,
              (Shape{3, 8, 9}));
    EXPECT_TRUE(pooled({{"kernel", std::int64_t{2}}}).parameters.empty());
    EXPECT_EQ(pooled({{"kernel", std::int64_t{2}}}).forward_flops, 3 * 12 * 12 * 4);
    EXPECT_EQ(pooled({{"kernel", std::int64_t{2}}}).found_settings.at("stride"),
              SettingValue(std::int64_t{2}));
  }
}

TEST(Pools, SayWhatDoesNotFit) {
  for (const std::string kind : {"max_pool", "avg_pool"}) {
    EXPECT_NE(problem(layer(kind, {{"kernel", std::int64_t{2}}}), {28, 28})
                  .find(kind + " needs an image of shape channels×height×width"),
              std::string::npos);
    EXPECT_NE(problem(layer(kind, {{"kernel", std::int64_t{9}}}), {1, 8, 30}).find("kernel: is 9"),
              std::string::npos);
    EXPECT_EQ(problem(layer(kind, {{"kernel", std::int64_t{3}}, {"padding", std::int64_t{2}}}),
                      {1, 8, 8}),
              "padding: is 2; at most half the kernel, 1");
  }
}

TEST(Activations, KeepTheShapeAndHaveNoParameters) {
  const auto flops_per_element = [](const LayerSpec& spec) {
    const LayerOutline made = outline(spec, {2, 5});
    EXPECT_EQ(made.output_shape, (Shape{2, 5}));
    EXPECT_TRUE(made.parameters.empty());
    return made.forward_flops / 10;
  };
  EXPECT_EQ(flops_per_element(layer("relu")), 1);
  EXPECT_EQ(flops_per_element(layer("gelu")), 10);
  EXPECT_EQ(flops_per_element(layer("tanh")), 6);
  EXPECT_EQ(flops_per_element(layer("dropout")), 1);
  EXPECT_EQ(outline(layer("dropout", {{"p", 0.25}}), {4}).description, "dropout 0.25");
}

TEST(Flatten, MakesOneDimension) {
  EXPECT_EQ(outline(layer("flatten"), {3, 4, 5}).output_shape, (Shape{60}));
  EXPECT_EQ(outline(layer("flatten"), {}).output_shape, (Shape{1}));
  EXPECT_EQ(outline(layer("flatten"), {3, 4, 5}).forward_flops, 0);
}

TEST(LayerNorm, ScalesAlongTheLastDimension) {
  const LayerOutline affine = outline(layer("layer_norm"), {4, 6});
  EXPECT_EQ(affine.output_shape, (Shape{4, 6}));
  EXPECT_EQ(parameter_shapes(affine), (std::vector<Shape>{{6}, {6}}));
  EXPECT_EQ(affine.parameters[0].init.kind, Initialisation::Kind::kOnes);
  EXPECT_EQ(affine.parameters[1].init.kind, Initialisation::Kind::kZeros);
  EXPECT_EQ(affine.forward_flops, 24 * 8);
  EXPECT_TRUE(outline(layer("layer_norm", {{"affine", false}}), {4, 6}).parameters.empty());
  EXPECT_NE(problem(layer("layer_norm"), {4, 1}).find("the input is 4×1"), std::string::npos);
}

TEST(GroupNorm, ScalesByChannel) {
  const LayerSpec two = layer("group_norm", {{"groups", std::int64_t{2}}});
  const LayerOutline affine = outline(two, {6, 4, 4});
  EXPECT_EQ(affine.output_shape, (Shape{6, 4, 4}));
  EXPECT_EQ(parameter_shapes(affine), (std::vector<Shape>{{6}, {6}}));
  EXPECT_EQ(problem(two, {5, 4, 4}),
            "groups: is 2, which does not divide the 5 channels of the input");
  EXPECT_NE(problem(two, {2}).find("one value a group"), std::string::npos);
  EXPECT_NE(problem(two, {}).find("needs channels"), std::string::npos);
}

TEST(Embedding, TakesWholeNumbersOfTheDataSet) {
  const LayerSpec table =
      layer("embedding", {{"num", std::int64_t{100}}, {"dim", std::int64_t{8}}});
  const ModelPlan made =
      plan({table, layer("flatten"), layer("linear")}, {{16}, true, {}, true, 3});
  EXPECT_EQ(made.layers[0].output_shape, (Shape{16, 8}));
  EXPECT_EQ(made.parameters[0].shape, (Shape{100, 8}));
  EXPECT_EQ(made.layers[0].forward_flops, 0);
  EXPECT_TRUE(made.input_is_index);
  EXPECT_EQ(made.index_limit, 100);
  EXPECT_NE(plan_problem({table, layer("flatten"), layer("linear")}, {{16}, false, {}, true, 3})
                .find("the data set's are f32"),
            std::string::npos);
  EXPECT_NE(plan_problem({layer("flatten"), table}).find("it can only be the first layer"),
            std::string::npos);
}

TEST(Settings, AreCheckedAgainstTheirRules) {
  const LayerKind& kind = *find_layer_kind("conv2d");
  const auto problems =
      check_settings(kind, {{"out", 0.5}, {"kernle", kOne}, {"stride", std::int64_t{0}}});
  ASSERT_EQ(problems.size(), 4U);
  EXPECT_EQ(problems[0].message, "unknown setting of conv2d; did you mean 'kernel'?");
  EXPECT_EQ(problems[1].message, "is 0.5; allowed: an integer from 1 to 1,048,576");
  EXPECT_EQ(problems[2].message, "is 0; allowed: an integer from 1 to 1,024");
  EXPECT_EQ(problems[3].message, "is missing; conv2d needs it: an integer from 1 to 1,024");
}

TEST(Words, FindTheNearest) {
  const std::vector<std::string_view> known = {"momentum", "nesterov", "every_steps"};
  EXPECT_EQ(nearest_word("momentun", known), "momentum");
  EXPECT_EQ(nearest_word("mometnum", known), "momentum");
  EXPECT_EQ(nearest_word("Momentum", known), "momentum");
  EXPECT_EQ(nearest_word("every", known), "every_steps");
  EXPECT_EQ(nearest_word("speed", known), "");
  EXPECT_EQ(nearest_word("", known), "");
  EXPECT_EQ(nearest_word(std::string(100'000, 'm'), known), "");
  EXPECT_EQ(grouped(-1'234'567), "-1,234,567");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(number_text(1e-8), "1e-08");
}

}  // namespace
}  // namespace mh::model
