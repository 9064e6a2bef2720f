// Which permutation puts vectors into buckets when a step is aggregated with bucketing. Here, below
// everybody who takes steps: server, reference run, `manyhands verify`. Pure.
#pragma once

#include <cstdint>

namespace mh::model {

/// The key of the permutation: Recipe::bucket_seed of a job's step. Persistent.
std::uint64_t bucket_key(std::uint64_t job_seed, std::uint64_t step);

}  // namespace mh::model
