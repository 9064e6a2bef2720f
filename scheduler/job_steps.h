// The life of a job: first workunits, finished steps, evaluations, checkpoints, the end.
// Flow: validator (a result counts) -> here -> State. Private to scheduler/coordinator; pure.
#pragma once

#include <string>
#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

// Errors: kInvalidArgument with the field, its value and what is allowed.
Result<void> check_submission(const JobSubmission& submission);

// Makes the job, its first checkpoint and its first workunits.
JobEntry& create_job(State& state, const JobSubmission& submission, TimePoint now);

// A workunit of the job has just become done. `result` is its canonical result.
void workunit_done(State& state, JobEntry& job, const WorkunitEntry& workunit,
                   const ResultEntry& result, TimePoint now);

// The effect that says that the step in progress is complete. Requires: it is.
StepReady step_ready(State& state, JobEntry& job);

// Requires: the job is live, `step` is its present step and complete.
void complete_step(State& state, JobEntry& job, const StepOutput& output, TimePoint now);

// What follows when the job stands at another step: its evaluation, its workunits, or its end.
void go_on(State& state, JobEntry& job, TimePoint now);

// Takes workunits out of memory; those that are not done are dropped.
void drop_workunits(State& state, const std::vector<WorkunitId>& ids, TimePoint now);

// Gives up a pending evaluation.
void skip_evaluation(State& state, JobEntry& job, std::uint64_t step, TimePoint now);

// Ends the job: drops its workunits, skips its evaluations, releases what only it needed.
void end_job(State& state, JobEntry& job, JobState to, std::string reason, TimePoint now);

// The better of two finished evaluations of one job: higher accuracy (without classes: lower loss);
// among equals lower loss, then the earlier one.
bool is_better(const EvaluationRow& candidate, const EvaluationRow& best, bool has_classes);

}  // namespace mh::scheduler
