// The public record of each step, and which of their blobs are kept (rule 26 of coordinator.h).
// Flow: job_steps (a step is complete) -> here -> State. Private to scheduler/coordinator; pure.
#pragma once

#include <string>

#include "scheduler/counted_shards.h"

namespace mh::scheduler {

// A step that was taken. All must outlive the call.
struct RecordedStep {
  RecordKind kind = RecordKind::kStep;
  // Of a rewind.
  std::string reason = {};
  const StepRow& row;
  const CountedShards& shards;
  const StepOutput& output;
  // What it started from.
  Digest parameters_before;
  Digest optimizer_before;
};

// Adds the step's record to the job's chain, and keeps its blobs.
void record_step(State& state, JobEntry& job, const RecordedStep& step);

// A record whose blobs are kept; of each job in order. One that cannot be read (its row was damaged
// by others) keeps nothing. Requires: its job is there.
void restore_retained(State& state, const StepRecordRow& row);

// Lets go of what the rule does not keep of this job, and of all together.
void limit_retained(State& state, JobEntry& job);

// Lets go of the blobs of the job's oldest record. Requires: there is one.
void release_oldest(State& state, JobEntry& job);

}  // namespace mh::scheduler
