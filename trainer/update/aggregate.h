// From the updates of a step to its mean gradient: one double a parameter, shards added strictly in
// the order 0, 1, 2, …, so that arrival order changes no bit (docs/decisions/0002).
//
// Flow: screened updates -> GradientAccumulator (server: as the prefix completes; reference: as
// they are computed) -> mean -> step.h. Compiled without fused multiply-add; every element is
// independent of the others, so vector width changes nothing. Threads: one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/result.h"

namespace mh::update {

class GradientAccumulator {
 public:
  explicit GradientAccumulator(std::uint64_t element_count);

  /// Adds the gradient sum of a shard. Errors, changing nothing: kFailedPrecondition unless
  /// shard_index == next_shard(); kInvalidArgument for another number of elements.
  Status add(std::uint64_t shard_index, std::span<const float> gradient_sum);
  /// The shard to be added next: the number of those added.
  std::uint64_t next_shard() const { return next_shard_; }
  std::uint64_t element_count() const { return sum_.size(); }

  /// out[i] = float(sum[i] / total_samples). Requires: out.size() == element_count(),
  /// total_samples > 0.
  void mean(std::uint64_t total_samples, std::span<float> out) const;
  /// Empty again, for the next step; keeps the memory.
  void reset();

 private:
  std::vector<double> sum_;
  std::uint64_t next_shard_ = 0;
};

/// Gradient sums in shard order; for updates in memory maps.
using Shards = std::span<const std::span<const float>>;

/// The same bits as from a GradientAccumulator, several shards in one pass over the sum, tile by
/// tile in the processor's cache. `is_first`: what `sum` holds does not count.
/// Errors, changing nothing: kInvalidArgument when a shard has another number of elements.
Status add_shards(std::span<double> sum, Shards shards, bool is_first);

/// out = (sum + shards) / total_samples, the same way; `sum` is empty when nothing was summed
/// before: then there is no vector of doubles at all.
/// Errors: kInvalidArgument when a shard has another number of elements than `out`.
/// Requires: total_samples > 0; sum empty or of the size of `out`.
Status mean_gradient(std::span<const double> sum, Shards shards, std::uint64_t total_samples,
                     std::span<float> out);

/// Scales the gradient so that its L2 norm is at most norm_max, as torch.nn.utils.clip_grad_norm_:
/// by norm_max / (norm + 1e-6) when that is below 1. norm_max 0: leaves it alone. Returns the norm
/// before.
double clip_by_global_norm(std::span<float> gradient, double norm_max);

}  // namespace mh::update
