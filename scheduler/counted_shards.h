// The results that count in a step or an evaluation, in the order of the shards: their sums, and
// what the aggregation is told. The same for a step that has just ended and for one that is taken
// again. Private to scheduler/coordinator; pure.
#pragma once

#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

struct CountedShard {
  const WorkunitRow* workunit = nullptr;
  // Its canonical result.
  const ResultRow* result = nullptr;
};
using CountedShards = std::vector<CountedShard>;

// Requires: the workunits are done. Valid until the state changes.
CountedShards counted_shards(const State& state, const std::vector<WorkunitId>& workunits);

struct Sums {
  double loss = 0;
  double correct = 0;
  std::uint64_t samples = 0;

  double mean_loss() const { return loss / static_cast<double>(samples); }
  // -1 without classes.
  double accuracy(const JobEntry& job) const {
    return job.row.has_classes ? correct / static_cast<double>(samples) : -1;
  }
};

Sums sum_of(const CountedShards& shards);

// The row of step `step` as these shards make it.
StepRow step_row(const JobEntry& job, std::uint64_t step, const CountedShards& shards,
                 const StepOutput& output, TimePoint now);

// Without the digests of what the step starts from.
StepReady ready_step(JobId job, std::uint64_t step, const CountedShards& shards);

}  // namespace mh::scheduler
