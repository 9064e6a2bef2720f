// A step taken again from what was kept of it: parameters, optimizer state and updates as packs.
// The sums are those of aggregate.h and the step is that of step.h, which the server calls, too, so
// equal inputs give equal bits.
//
// Flow: begin() -> add() in the order of the shards -> finish() -> parameters(), optimizer(). With
// a robust rule: begin() -> read() -> its gradient into gradient() -> finish_with_gradient().
// Memory: parameters, optimizer state, one float a parameter, with add() one double more.
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/update/step.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {

class StepReplay {
 public:
  /// `rule` with its step_count.
  explicit StepReplay(const StepRule& rule) : rule_(rule) {}

  /// What step `step` starts from: whole packs; the optimizer state is empty before the first step
  /// and for optimizers without. The first call decides how many parameters there are and in which
  /// layout. Errors: kInvalidArgument, kDataLoss: not packs of this job, or of another step.
  Status begin(std::uint64_t step, std::span<const std::byte> parameters,
               std::span<const std::byte> optimizer);

  /// The next update: a whole pack. Errors: kInvalidArgument, kDataLoss: what is wrong with it.
  Status add(std::span<const std::byte> update, std::uint64_t sample_count);

  /// Takes the step. Requires: begin(). Errors: kInvalidArgument (no updates), those of
  /// take_step().
  Result<StepOutcome> finish();

  /// The numbers of an update, which lie in it. Errors: as add().
  Result<std::span<const float>> read(std::span<const std::byte> update,
                                      std::uint64_t sample_count) const;
  /// After begin(): room for a gradient, and the step with it. Errors: those of take_step().
  std::span<float> gradient() { return mean_; }
  Result<StepOutcome> finish_with_gradient();

  /// Whole packs of the new state; the second is empty for optimizers without state.
  std::span<const std::byte> parameters() const { return std::as_bytes(std::span(parameters_)); }
  std::span<const std::byte> optimizer() const { return std::as_bytes(std::span(optimizer_)); }

  /// Bytes of every update, after begin().
  std::uint64_t update_bytes() const { return update_size(layout_.element_count); }

 private:
  Status read_optimizer(std::span<const std::byte> pack);

  const StepRule rule_;
  // Of parameters; no elements: not known yet.
  PackHeader layout_;
  std::uint64_t step_ = 0;
  std::uint64_t sample_count_ = 0;
  bool is_first_ = true;
  // Header and values.
  std::vector<float> parameters_;
  std::vector<float> optimizer_;
  std::vector<double> sum_;
  std::vector<float> mean_;
};

}  // namespace mh::update
