// The public record of each step, and which of their blobs are kept (rule 26 of coordinator.h).
// Flow: job_steps (a step is complete) -> here -> State. Private to scheduler/coordinator; pure.
#pragma once

#include "scheduler/state.h"

namespace mh::scheduler {

// Adds the record of the step in progress to the job's chain, and keeps its blobs.
// Requires: the step is complete, `job` still stands before it; `row` is the step's.
void record_step(State& state, JobEntry& job, const StepRow& row, const StepOutput& output);

// A record whose blobs are kept; of each job in order. One that cannot be read (its row was damaged
// by others) keeps nothing. Requires: its job is there.
void restore_retained(State& state, const StepRecordRow& row);

// Lets go of what the rule does not keep of this job, and of all together.
void limit_retained(State& state, JobEntry& job);

// Lets go of the blobs of the job's oldest record. Requires: there is one.
void release_oldest(State& state, JobEntry& job);

}  // namespace mh::scheduler
