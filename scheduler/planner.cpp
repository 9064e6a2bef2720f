// See planner.h.
#include "scheduler/planner.h"

#include <algorithm>

#include "proto/base/check.h"

namespace mh::scheduler {
namespace {

// Keeps the keys of shuffles apart from those of parameters and dropout ("SHUF"). Persistent.
constexpr std::uint64_t kShufflePurpose = 0x53485546;

}  // namespace

std::uint64_t pass_key(std::uint64_t job_seed, std::uint64_t pass) {
  return derive_key(job_seed, kShufflePurpose, pass);
}

SampleStream::SampleStream(std::uint64_t job_seed, std::uint64_t sample_count)
    : seed_(job_seed), sample_count_(sample_count), permutation_(sample_count, pass_key(seed_, 0)) {
  MH_CHECK(sample_count > 0);
}

std::uint64_t SampleStream::sample_at(std::uint64_t position) {
  const std::uint64_t pass = position / sample_count_;
  if (pass != pass_) {
    permutation_ = Permutation(sample_count_, pass_key(seed_, pass));
    pass_ = pass;
  }
  return permutation_(position % sample_count_);
}

std::uint64_t workunits_per_step(const StepShape& shape) {
  MH_CHECK(shape.shard > 0 && shape.batch > 0 && shape.batch % shape.shard == 0);
  return shape.batch / shape.shard;
}

ShardRange shard_range(const StepShape& shape, std::uint64_t step, std::uint64_t index) {
  MH_CHECK(index < workunits_per_step(shape));
  const std::uint64_t begin = step * shape.batch + index * shape.shard;
  return {begin, begin + shape.shard};
}

std::vector<ShardRange> evaluation_ranges(std::uint64_t sample_count, std::uint64_t shard) {
  MH_CHECK(shard > 0);
  std::vector<ShardRange> ranges;
  for (std::uint64_t begin = 0; begin < sample_count; begin += shard) {
    ranges.push_back({begin, std::min(sample_count, begin + shard)});
  }
  return ranges;
}

std::vector<std::uint32_t> chunks_of(const ShardRange& range, std::uint64_t samples_per_chunk) {
  std::vector<std::uint32_t> chunks;
  if (samples_per_chunk == 0 || range.size() == 0) return chunks;
  const std::uint64_t last = (range.end - 1) / samples_per_chunk;
  for (std::uint64_t chunk = range.begin / samples_per_chunk; chunk <= last; ++chunk) {
    chunks.push_back(static_cast<std::uint32_t>(chunk));
  }
  return chunks;
}

}  // namespace mh::scheduler
