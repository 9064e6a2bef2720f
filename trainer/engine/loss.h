// Losses: value, number of correct answers and gradient of one micro-batch. Torch-only header.
// Threads: pure functions.
#pragma once

#include <ATen/core/Tensor.h>

namespace mh::engine {

/// What one micro-batch adds to the sums of its workunit.
struct LossOutcome {
  /// Sum over the samples, float64 scalar on the device.
  at::Tensor loss_sum;
  /// Correct samples, int64 scalar on the device; undefined for a loss without right and wrong.
  at::Tensor correct_count;
  /// Gradient of the sum with respect to the model's output; undefined if not wanted.
  at::Tensor output_gradient;
};

/// Cross entropy of logits [rows, ..., classes] and class numbers [rows, ...]. The loss of a sample
/// that has several targets is their mean; it counts as correct when all of them are.
LossOutcome cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                          bool gradient_wanted);

/// Mean over a sample's elements of the squared difference; both tensors have the same shape.
LossOutcome mean_squared_error(const at::Tensor& output, const at::Tensor& targets,
                               bool gradient_wanted);

}  // namespace mh::engine
