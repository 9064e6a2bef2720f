// Which parameters of a job are kept (rule 16 of coordinator.h). Private to scheduler/coordinator.
#pragma once

#include "scheduler/state.h"

namespace mh::scheduler {

// The job's present parameters become a checkpoint.
void keep_checkpoint(State& state, JobEntry& job);

// The rule itself, for one checkpoint of the job.
bool is_checkpoint_needed(const CoordinatorOptions& options, const JobEntry& job,
                          std::uint64_t step);

// Releases the checkpoints that the rule does not keep.
void prune_checkpoints(State& state, JobEntry& job);

}  // namespace mh::scheduler
