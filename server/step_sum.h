// The sum of a step's updates and its mean, by two threads where the updates are large: every
// element is computed by itself, so the cut changes no bit (trainer/update/aggregate.h).
// Memory: one double a parameter, from the first add() on; a mean of what is given at once needs
// none. Private to server/job_aggregation.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/result.h"
#include "trainer/update/aggregate.h"

namespace mh::server {

class StepSum {
 public:
  explicit StepSum(std::uint64_t element_count) : element_count_(element_count) {}

  // Adds the next shards, in order. Errors, changing nothing: kInvalidArgument (another number of
  // elements).
  Status add(update::Shards shards);
  // The mean of what was added and of the rest. Errors: as add().
  // Requires: sample_count > 0, out.size() is the number of elements.
  Status mean(update::Shards rest, std::uint64_t sample_count, std::span<float> out) const;
  // Empty again, for the next step; keeps the memory.
  void reset() { is_empty_ = true; }

 private:
  const std::uint64_t element_count_;
  std::vector<double> sum_;
  bool is_empty_ = true;
};

}  // namespace mh::server
