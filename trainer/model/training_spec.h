// How a model is trained: sizes, optimizer, schedule. Plain values of the job file with their
// defaults and ranges; scheduler/job_spec reads and checks them, trainer/update computes with them.
// No threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mh::model {

/// Largest batch (samples per step), and most steps of a job.
inline constexpr std::uint64_t kBatchMax = 16'777'216;
inline constexpr std::uint64_t kStepCountMax = 100'000'000;

/// How long a job trains and how a step is cut. Divisibility: micro_batch | shard | batch.
struct TrainingSpec {
  /// Exactly one of the two is set. Passes over the train split may be a fraction (0, 1e6].
  std::optional<double> passes;
  std::optional<std::uint64_t> steps;
  /// Samples per step, 1 … kBatchMax.
  std::uint64_t batch = 128;
  /// Samples per workunit.
  std::uint64_t shard = 32;
  /// Samples that the trainer computes at a time; part of the job because it decides the bits.
  std::uint64_t micro_batch = 32;

  bool operator==(const TrainingSpec&) const = default;
};

/// Number of steps for a train split of `sample_count` samples: `steps`, or ceil(passes × samples /
/// batch), at least 1. Requires: sample_count > 0.
std::uint64_t step_count(const TrainingSpec& training, std::uint64_t sample_count);

enum class OptimizerKind { kSgd, kAdam, kAdamW };

/// "sgd", "adam", "adamw".
std::string_view optimizer_name(OptimizerKind kind);

/// The rule that turns a mean gradient into new parameters; the equations are torch.optim's.
struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kSgd;
  /// Required in a job file; (0, 1000].
  double learning_rate = 0.01;
  /// Sgd: [0, 1). Nesterov needs momentum > 0.
  double momentum = 0;
  bool nesterov = false;
  /// [0, 1]. Sgd and adam add it to the gradient (L2), adamw decays the parameters (default 0.01
  /// there, else 0).
  double weight_decay = 0;
  /// Adam and adamw: [0, 1), [0, 1), (0, 1].
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;

  bool operator==(const OptimizerSpec&) const = default;
};

enum class ScheduleKind { kConstant, kStep, kCosine };

/// "constant", "step", "cosine".
std::string_view schedule_name(ScheduleKind kind);

/// Learning rate of step t (from 0) of T: learning_rate × warm-up × schedule, in double. With W =
/// warmup_steps:
///   warm-up:  (t + 1) / W while t < W, then 1
///   u = max(0, t - W)
///   constant: 1
///   step:     factor ^ floor(u / every_steps)
///   cosine:   final_factor + (1 - final_factor) × (1 + cos(π u / max(1, T - W))) / 2
struct ScheduleSpec {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::uint64_t warmup_steps = 0;
  /// Step: steps between two drops, at least 1 (required there), and what each multiplies by, (0,
  /// 1].
  std::uint64_t every_steps = 0;
  double factor = 0.1;
  /// Cosine: share of the learning rate that is left at the end, [0, 1].
  double final_factor = 0;

  bool operator==(const ScheduleSpec&) const = default;
};

}  // namespace mh::model
