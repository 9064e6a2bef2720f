// The plan of a job's samples: which samples a step uses, in which order, cut into which workunits.
// A pure function of the job's seed and sizes. The server plans with it, the trainer reads samples
// by it, the reference run does both; so they agree to the bit. No threads, no state.
//
// Positions 0, 1, 2, … form the job's endless stream of samples. Step t uses positions
// [t × batch, (t + 1) × batch); workunit k of step t uses [t × batch + k × shard, + shard).
// Position p belongs to pass p / N (N samples in the train split) and is sample
// Permutation(N, pass_key(seed, p / N))(p % N): every sample comes once per pass.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/base/random.h"

namespace mh::scheduler {

// The key of one pass's permutation.
std::uint64_t pass_key(std::uint64_t job_seed, std::uint64_t pass);

// The sample at each position. Keeps the last pass's permutation, so neighbouring positions are
// cheap. Threads: one; copy it for another.
class SampleStream {
 public:
  // Requires: sample_count > 0.
  SampleStream(std::uint64_t job_seed, std::uint64_t sample_count);

  // Index into the train split, below sample_count().
  std::uint64_t sample_at(std::uint64_t position);
  std::uint64_t sample_count() const { return sample_count_; }

 private:
  std::uint64_t seed_;
  std::uint64_t sample_count_;
  std::uint64_t pass_ = 0;
  Permutation permutation_;
};

// Positions (gradient) or sample indices (evaluation): [begin, end).
struct ShardRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  std::uint64_t size() const { return end - begin; }
  friend bool operator==(const ShardRange&, const ShardRange&) = default;
};

// How a step is cut. Requires: shard > 0, shard divides batch.
struct StepShape {
  // Samples per step, and per workunit.
  std::uint64_t batch = 0;
  std::uint64_t shard = 0;
};

std::uint64_t workunits_per_step(const StepShape& shape);

// Positions of workunit `index` of step `step`. Requires: index < workunits_per_step(shape).
ShardRange shard_range(const StepShape& shape, std::uint64_t step, std::uint64_t index);

// An evaluation split cut into ranges of `shard` samples; the last may be shorter.
// Requires: shard > 0.
std::vector<ShardRange> evaluation_ranges(std::uint64_t sample_count, std::uint64_t shard);

// Chunks of a split that hold samples [begin, end), when every chunk but the last holds
// `samples_per_chunk` (0: not known; then the answer is empty, which means all).
std::vector<std::uint32_t> chunks_of(const ShardRange& range, std::uint64_t samples_per_chunk);

}  // namespace mh::scheduler
