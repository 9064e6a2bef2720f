// One-layer models and their plans, for the tests of trainer/model.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trainer/model/layer_kind.h"
#include "trainer/model/model_plan.h"

namespace mh::model {

/// A layer with the defaults of its kind.
inline LayerSpec layer(std::string kind, Settings settings = {}) {
  const LayerKind* known = find_layer_kind(kind);
  EXPECT_NE(known, nullptr) << kind;
  if (known != nullptr) fill_defaults(*known, settings);
  return {std::move(kind), std::move(settings)};
}

/// What the kind makes of an input in the middle of a model.
inline std::variant<LayerOutline, LayerProblem> fit(const LayerSpec& spec, Shape input) {
  LayerPosition position;
  position.input_shape = std::move(input);
  return find_layer_kind(spec.kind)->fit(spec.settings, position);
}

inline LayerOutline outline(const LayerSpec& spec, Shape input) {
  auto fitted = fit(spec, std::move(input));
  const auto* problem = std::get_if<LayerProblem>(&fitted);
  EXPECT_EQ(problem, nullptr) << (problem == nullptr ? "" : problem->message);
  return problem == nullptr ? std::get<LayerOutline>(fitted) : LayerOutline{};
}

/// "groups: is 3, which …"
inline std::string problem(const LayerSpec& spec, Shape input) {
  auto fitted = fit(spec, std::move(input));
  const auto* problem = std::get_if<LayerProblem>(&fitted);
  EXPECT_NE(problem, nullptr) << spec.kind << " fits";
  if (problem == nullptr) return {};
  return (problem->setting.empty() ? "" : problem->setting + ": ") + problem->message;
}

/// Ten classes of 28×28 images.
inline SampleInfo images() { return {{28, 28}, true, {}, true, 10}; }

inline ModelPlan plan(std::vector<LayerSpec> layers, const SampleInfo& info = images()) {
  auto planned = plan_model({std::move(layers), Loss::kCrossEntropy}, info);
  EXPECT_TRUE(planned.has_value()) << (planned ? "" : planned.error().message);
  return planned ? *planned : ModelPlan{};
}

inline std::string plan_problem(std::vector<LayerSpec> layers, const SampleInfo& info = images(),
                                Loss loss = Loss::kCrossEntropy) {
  auto planned = plan_model({std::move(layers), loss}, info);
  EXPECT_FALSE(planned.has_value());
  return planned ? "" : planned.error().message;
}

}  // namespace mh::model
