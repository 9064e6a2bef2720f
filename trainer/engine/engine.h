// The engine: sums of gradients, losses and correct answers over ranges of samples, at fixed
// parameters.
//
// Torch-free header; everything torch is behind Impl. This is the middle of the trainer process:
// serve and reference hand it parameters, sample numbers and a place for the result.
//
// Rules
// 1. A result is a function of (plan, parameters, samples, positions, micro-batch size), of this
// machine's kernels and
//    of the number of threads. It never depends on what the engine computed before.
//    *Rationale:* results of one workunit by several hosts, and of a restarted job, must be equal
//    bit for bit.
// 2. Samples are taken in order, micro_batch at a time; parameter gradients are added in fp32 in
// that order, losses in
//    double. Only the last micro-batch of an evaluation may be shorter.
// 3. Nothing random is drawn from torch: dropout masks are counted (layers/dropout.cpp).
//
// Errors: what torch throws (out of memory, a CUDA fault) comes back as kInternal; a stop asked for
// by the progress callback as kCanceled. Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "proto/base/result.h"
#include "trainer/engine/device.h"
#include "trainer/engine/sample_source.h"
#include "trainer/model/model_plan.h"

namespace mh::engine {

/// What to train and how, as far as the engine cares.
struct EngineJob {
  model::ModelPlan plan;
  /// Key of the dropout masks.
  std::uint64_t seed = 0;
  /// Samples computed at a time.
  std::uint32_t micro_batch = 64;
};

/// Sums over the samples of one call.
struct Sums {
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
  std::uint64_t sample_count = 0;
};

/// Called after each micro-batch with the number of samples done; false stops the computation.
using Progress = std::function<bool(std::uint64_t samples_done)>;

/// A model on a device. Move-free; held by unique_ptr.
class Engine {
 public:
  /// Builds the modules. Errors: kInvalidArgument for a layer kind without a module, a micro-batch
  /// of 0.
  static Result<std::unique_ptr<Engine>> create(EngineJob job, const Device& device);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Copies `parameters` (the flat vector of the plan). Errors: kInvalidArgument for another
  /// length.
  Result<void> set_parameters(std::span<const float> parameters);

  /// Writes to `gradient` (length: the plan's parameter count) the sum over the samples `indices`
  /// of the gradients of their losses. The i-th sample stands at position first_position + i of the
  /// stream. Requires: set_parameters(). Errors: kInvalidArgument where the number of samples is
  /// not a multiple of micro_batch.
  Result<Sums> compute_gradient(const SampleSource& samples, std::span<const std::uint64_t> indices,
                                std::uint64_t first_position, std::span<float> gradient,
                                const Progress& progress = {});

  /// Sums over samples [begin, end) of a split, without gradients and dropout. Requires:
  /// set_parameters().
  Result<Sums> evaluate(const SampleSource& samples, std::uint64_t begin, std::uint64_t end,
                        const Progress& progress = {});

  /// The model's outputs for `indices`, row after row. Requires: set_parameters().
  Result<std::vector<float>> outputs(const SampleSource& samples,
                                     std::span<const std::uint64_t> indices);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mh::engine
