// What simulated hosts compute with: the trainer's engine in attack_bench, a formula in unit tests.
// Threads: one at a time; a run has one of its own.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/result.h"
#include "tests/bench/attack/vectors.h"
#include "trainer/model/model_plan.h"

namespace mh::attack {

// The sum over a shard, and what is claimed beside it.
struct Gradient {
  Vector sum;
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
};

// Flipped: class y becomes C - 1 - y.
enum class Labels { kTrue, kFlipped };

class Learner {
 public:
  virtual ~Learner() = default;

  virtual const model::ModelPlan& plan() const = 0;
  // The class of every training sample.
  virtual std::span<const std::uint8_t> classes() const = 0;
  // Values need not be finite: training may have diverged.
  virtual Result<Gradient> gradient(std::span<const float> parameters,
                                    std::span<const std::uint64_t> samples, Labels labels) = 0;
  // Share of the test samples that are classified correctly.
  virtual Result<double> accuracy(std::span<const float> parameters) = 0;
};

}  // namespace mh::attack
