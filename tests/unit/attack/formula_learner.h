// A learner without an engine: each sample pulls the parameters towards a point of its class.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "tests/bench/attack/learner.h"
#include "trainer/model/presets.h"
#include "trainer/update/tensor_pack.h"

namespace mh::attack {

class FormulaLearner final : public Learner {
 public:
  explicit FormulaLearner(std::size_t sample_count = 600) {
    model::SampleInfo info;
    info.input_shape = {4};
    info.target_is_integer = true;
    info.class_count = kClasses;
    model::MlpPreset preset;
    preset.hidden = {};
    auto plan = model::plan_model({model::mlp_layers(preset), model::Loss::kCrossEntropy}, info);
    EXPECT_TRUE(plan) << (plan ? "" : plan.error().message);
    plan_ = *std::move(plan);
    for (std::size_t i = 0; i < sample_count; ++i)
      classes_.push_back(static_cast<std::uint8_t>(i * 7 % kClasses));
  }

  const model::ModelPlan& plan() const override { return plan_; }
  std::span<const std::uint8_t> classes() const override { return classes_; }

  Result<Gradient> gradient(std::span<const float> parameters,
                            std::span<const std::uint64_t> samples, Labels labels) override {
    Gradient gradient;
    gradient.sum.resize(parameters.size());
    for (const std::uint64_t sample : samples) {
      const std::uint64_t of =
          labels == Labels::kTrue ? classes_[sample] : kClasses - 1 - classes_[sample];
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const float difference = parameters[i] - point(of, i) - noise(sample, i);
        gradient.sum[i] += difference;
        gradient.loss_sum += difference * difference / 2;
      }
    }
    gradient.correct_count = samples.size() / 2;
    return gradient;
  }

  // 1 at the middle of the classes' points, less farther away.
  Result<double> accuracy(std::span<const float> parameters) override {
    double sum = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      double middle = 0;
      for (std::uint64_t of = 0; of < kClasses; ++of) middle += point(of, i) / double{kClasses};
      sum += std::pow(parameters[i] - middle, 2);
    }
    return std::isfinite(sum) ? 1 / (1 + std::sqrt(sum)) : 0;
  }

  static constexpr std::uint64_t kClasses = 5;

 private:
  static float point(std::uint64_t of, std::size_t i) {
    return static_cast<float>((of * 3 + i) % 7) + 2;
  }
  static float noise(std::uint64_t sample, std::size_t i) {
    return static_cast<float>((sample * 13 + i * 5) % 11) / 10 - 0.5F;
  }

  model::ModelPlan plan_;
  std::vector<std::uint8_t> classes_;
};

}  // namespace mh::attack
