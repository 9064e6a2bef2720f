// Small models and made-up samples for the tests of the engine. Torch-free.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/random.h"
#include "trainer/engine/engine.h"
#include "trainer/model/layer_kind.h"
#include "trainer/model/presets.h"

namespace mh::engine {

/// Samples that are a function of their number.
class MadeUpSamples final : public SampleSource {
 public:
  explicit MadeUpSamples(std::uint64_t count, float scale = 1) : count_(count), scale_(scale) {}

  std::uint64_t count() const override { return count_; }
  Result<void> read_input(std::uint64_t index, std::span<float> out) const override {
    if (index >= count_) return fail(Errc::kOutOfRange, "sample " + std::to_string(index));
    Philox4x32 generator(99, index);
    for (float& value : out) value = (uniform_float(generator.next()) * 2 - 1) * scale_;
    return {};
  }
  Result<void> read_input(std::uint64_t index, std::span<std::int64_t> out,
                          std::int64_t limit) const override {
    Philox4x32 generator(98, index);
    for (std::int64_t& value : out) {
      value = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(limit)));
    }
    return {};
  }
  Result<void> read_target(std::uint64_t index, std::span<std::int64_t> out,
                           std::int64_t class_count) const override {
    for (std::int64_t& value : out) value = static_cast<std::int64_t>(index) % class_count;
    return {};
  }
  Result<void> read_target(std::uint64_t index, std::span<float> out) const override {
    for (float& value : out) value = static_cast<float>(index % 5);
    return {};
  }

 private:
  const std::uint64_t count_;
  const float scale_;
};

inline Device cpu() {
  const Result<Device> device = open_device("cpu", 1);
  EXPECT_TRUE(device);
  return *device;
}

inline model::LayerSpec layer(const std::string& kind, model::Settings settings = {}) {
  model::LayerSpec spec{kind, std::move(settings)};
  model::fill_defaults(*model::find_layer_kind(kind), spec.settings);
  return spec;
}

/// A plan for inputs of this shape and `classes` classes.
inline model::ModelPlan plan_for(std::vector<model::LayerSpec> layers, model::Shape input,
                                 std::int64_t classes) {
  model::SampleInfo info;
  info.input_shape = std::move(input);
  info.input_is_integer = true;
  info.target_is_integer = true;
  info.class_count = classes;
  Result<model::ModelPlan> plan =
      model::plan_model({std::move(layers), model::Loss::kCrossEntropy}, info);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().message);
  return std::move(*plan);
}

/// A convolutional network with dropout, on 12×12 images.
inline model::ModelPlan small_cnn() {
  model::CnnPreset preset;
  preset.channels = {4, 8};
  preset.kernel = 3;
  preset.hidden = 16;
  preset.dropout = 0.3;
  return plan_for(model::cnn_layers(preset), {12, 12}, 5);
}

inline std::vector<std::uint64_t> numbers(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::uint64_t> indices;
  for (std::uint64_t i = begin; i < end; ++i) indices.push_back(i);
  return indices;
}

inline bool is_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace mh::engine
