// See job_steps.h.
#include "scheduler/job_steps.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "scheduler/checkpoints.h"
#include "scheduler/checks.h"
#include "scheduler/counted_shards.h"
#include "scheduler/credit.h"
#include "scheduler/planner.h"
#include "scheduler/step_records.h"

namespace mh::scheduler {
namespace {

// Workunits of one step, and of one evaluation.
constexpr std::uint64_t kWorkunitCountMax = 65'536;

void make_step_workunits(State& state, JobEntry& job) {
  const StepShape shape{job.row.batch, job.row.shard};
  const std::uint64_t count = workunits_per_step(shape);
  job.workunits.clear();
  job.done_count = 0;
  job.leases_by_account.clear();
  for (std::uint64_t shard = 0; shard < count; ++shard) {
    const ShardRange range = shard_range(shape, job.row.step, shard);
    WorkunitRow row;
    row.kind = WorkKind::kGradient;
    row.step = job.row.step;
    row.shard = shard;
    row.begin = range.begin;
    row.end = range.end;
    job.workunits.push_back(state.add_workunit(job, row).row.id);
  }
}

void release_updates(State& state, const JobEntry& job) {
  for (const WorkunitId id : job.workunits) {
    const WorkunitEntry& workunit = state.workunit(id);
    if (workunit.row.state == WorkunitState::kDone) {
      state.release(state.result(workunit.row.canonical).row.update_digest);
    }
  }
}

// Rule 15: the oldest that no host has begun makes room, else the oldest.
void limit_evaluations(State& state, JobEntry& job, TimePoint now) {
  if (job.evaluations.size() < state.options.evaluations_pending_max) return;
  const auto is_untouched = [&](const auto& entry) {
    const std::vector<WorkunitId>& ids = entry.second.workunits;
    return std::all_of(ids.begin(), ids.end(),
                       [&](WorkunitId id) { return state.workunit(id).results.empty(); });
  };
  MH_PROBE("an evaluation is skipped");
  auto skipped = std::find_if(job.evaluations.begin(), job.evaluations.end(), is_untouched);
  if (skipped == job.evaluations.end()) skipped = job.evaluations.begin();
  const std::uint64_t step = skipped->first;
  state.log(job, now,
            "evaluation of step " + std::to_string(step) + " is skipped: " +
                std::to_string(job.evaluations.size()) + " evaluations wait for trusted hosts");
  skip_evaluation(state, job, step, now);
}

void begin_evaluation(State& state, JobEntry& job, TimePoint now) {
  limit_evaluations(state, job, now);
  EvaluationEntry& evaluation = job.evaluations[job.row.step];
  evaluation.row.job = job.row.id;
  evaluation.row.step = job.row.step;
  evaluation.row.split = job.row.evaluation_split;
  evaluation.row.sample_count = job.row.evaluation_sample_count;
  state.store(evaluation.row);
  const auto ranges = evaluation_ranges(job.row.evaluation_sample_count, job.row.evaluation_shard);
  for (std::uint64_t shard = 0; shard < ranges.size(); ++shard) {
    WorkunitRow row;
    row.kind = WorkKind::kEvaluation;
    row.step = job.row.step;
    row.shard = shard;
    row.begin = ranges[shard].begin;
    row.end = ranges[shard].end;
    evaluation.workunits.push_back(state.add_workunit(job, row).row.id);
  }
}

bool is_evaluation_due(const JobEntry& job) {
  if (!job.row.has_evaluation) return false;
  if (job.row.step == job.row.step_count) return true;
  return job.row.evaluation_every_steps > 0 && job.row.step % job.row.evaluation_every_steps == 0;
}

void finish_if_done(State& state, JobEntry& job, TimePoint now) {
  if (job.row.step < job.row.step_count || !job.evaluations.empty()) return;
  end_job(state, job, JobState::kFinished, "", now);
}

void evaluation_done(State& state, JobEntry& job, EvaluationEntry& evaluation, TimePoint now) {
  const Sums sums = sum_of(counted_shards(state, evaluation.workunits));
  EvaluationRow row = evaluation.row;
  row.state = EvaluationState::kDone;
  row.loss = sums.mean_loss();
  row.accuracy = sums.accuracy(job);
  row.finished = now;
  state.store(row);
  for (const WorkunitId id : evaluation.workunits) state.forget(id);
  job.evaluations.erase(row.step);
  if (!job.last_evaluation || job.last_evaluation->step < row.step) job.last_evaluation = row;
  if (!job.best_evaluation || is_better(row, *job.best_evaluation, job.row.has_classes)) {
    job.best_evaluation = row;
  }
  prune_checkpoints(state, job);
  state.touch(job);
  finish_if_done(state, job, now);
}

}  // namespace

void drop_workunits(State& state, const std::vector<WorkunitId>& ids, TimePoint now) {
  for (const WorkunitId id : ids) {
    WorkunitEntry& workunit = state.workunit(id);
    const bool is_over =
        workunit.row.state == WorkunitState::kDone || workunit.row.state == WorkunitState::kDropped;
    if (!is_over) {
      drop_reported(state, workunit, now);
      state.set_state(workunit, WorkunitState::kDropped, now);
      const std::vector<ResultId> leases = workunit.leases;
      if (!leases.empty()) MH_PROBE("a job or evaluation ends with leases out");
      for (const ResultId lease : leases) {
        state.set_state(state.result(lease), ResultState::kObsolete, now);
      }
    }
    state.forget(id);
  }
}

void skip_evaluation(State& state, JobEntry& job, std::uint64_t step, TimePoint now) {
  EvaluationEntry& evaluation = job.evaluations.at(step);
  drop_workunits(state, evaluation.workunits, now);
  evaluation.row.state = EvaluationState::kSkipped;
  evaluation.row.finished = now;
  state.store(evaluation.row);
  job.evaluations.erase(step);
}

bool is_better(const EvaluationRow& candidate, const EvaluationRow& best, bool has_classes) {
  if (has_classes && candidate.accuracy != best.accuracy) return candidate.accuracy > best.accuracy;
  if (candidate.loss != best.loss) return candidate.loss < best.loss;
  return candidate.step < best.step;
}

Result<void> check_submission(const JobSubmission& job) {
  const auto refuse = [](const std::string& text) { return fail(Errc::kInvalidArgument, text); };
  if (job.request_id.size() > 64) {
    return refuse("request_id has " + std::to_string(job.request_id.size()) +
                  " characters, at most 64 are allowed");
  }
  if (job.batch == 0 || job.shard == 0 || job.batch % job.shard != 0) {
    return refuse("batch " + std::to_string(job.batch) + " is not a multiple of shard " +
                  std::to_string(job.shard));
  }
  if (job.batch / job.shard > kWorkunitCountMax) {
    return refuse("a step has " + std::to_string(job.batch / job.shard) +
                  " workunits, at most 65,536 are allowed; make the shard larger");
  }
  if (job.step_count == 0) return refuse("step_count is 0");
  // Positions are 64-bit numbers and batch × step_count of them must exist.
  if (job.step_count > (std::uint64_t{1} << 62) / job.batch) return refuse("too many samples");
  if (job.priority > 100) return refuse("priority is above 100");
  if (job.hosts_min == 0 || job.hosts_min > job.batch / job.shard) {
    return refuse("a step needs " + std::to_string(job.hosts_min) + " hosts and has " +
                  std::to_string(job.batch / job.shard) + " workunits");
  }
  if (!std::isfinite(job.training_flops) || job.training_flops < 0 ||
      !std::isfinite(job.evaluation_flops) || job.evaluation_flops < 0) {
    return refuse("FLOPs of a sample are not a number");
  }
  if (!job.has_evaluation) return {};
  if (job.evaluation_sample_count == 0 || job.evaluation_shard == 0) {
    return refuse("the evaluation split or its shard is empty");
  }
  const std::uint64_t ranges = (job.evaluation_sample_count - 1) / job.evaluation_shard + 1;
  if (ranges > kWorkunitCountMax) {
    return refuse("an evaluation has " + std::to_string(ranges) +
                  " workunits, at most 65,536 are allowed; make evaluation.shard larger");
  }
  return {};
}

JobEntry& create_job(State& state, const JobSubmission& submission, TimePoint now) {
  const JobId id(++state.last_job);
  JobEntry& job = state.jobs[id];
  job.row.id = id;
  job.row.name = submission.name;
  job.row.dataset = submission.dataset;
  job.row.request_id = submission.request_id;
  job.row.job_digest = submission.job_digest;
  job.row.manifest_digest = submission.manifest_digest;
  job.row.step_count = submission.step_count;
  job.row.batch = submission.batch;
  job.row.shard = submission.shard;
  job.row.training_flops = submission.training_flops;
  job.row.evaluation_flops = submission.evaluation_flops;
  job.row.threads = submission.threads;
  job.row.hosts_min = submission.hosts_min;
  job.row.is_pinned = submission.is_pinned;
  job.row.has_classes = submission.has_classes;
  job.row.has_evaluation = submission.has_evaluation;
  job.row.evaluation_split = submission.evaluation_split;
  job.row.evaluation_sample_count = submission.evaluation_sample_count;
  job.row.evaluation_every_steps = submission.evaluation_every_steps;
  job.row.evaluation_shard = submission.evaluation_shard;
  job.row.evaluation_chunk_samples = submission.evaluation_chunk_samples;
  job.row.validation = submission.validation;
  job.row.created = now;
  job.row.priority = submission.priority;
  job.row.parameters_digest = submission.parameters_digest;
  state.live_jobs.insert(id);
  if (!submission.request_id.empty()) state.requests.emplace(submission.request_id, id);
  state.blobs.add(job.row.job_digest);
  keep_checkpoint(state, job);
  state.log(job, now,
            "job " + to_string(id) + " (" + job.row.name +
                ") is submitted: " + std::to_string(job.row.step_count) + " steps");
  make_step_workunits(state, job);
  return job;
}

void workunit_done(State& state, JobEntry& job, const WorkunitEntry& workunit,
                   const ResultEntry& result, TimePoint now) {
  if (workunit.row.kind == WorkKind::kGradient) {
    MH_CHECK(workunit.row.step == job.row.step && workunit.row.shard < job.workunits.size());
    ++job.done_count;
    state.blobs.add(result.row.update_digest);
    state.effects().updates_accepted.push_back(
        {job.row.id, workunit.row.step, workunit.row.shard, result.row.update_digest});
    if (job.is_step_complete()) state.effects().steps_ready.push_back(step_ready(state, job));
    return;
  }
  EvaluationEntry& evaluation = job.evaluations.at(workunit.row.step);
  ++evaluation.done_count;
  if (evaluation.done_count == evaluation.workunits.size()) {
    evaluation_done(state, job, evaluation, now);
  }
}

StepReady step_ready(State& state, JobEntry& job) {
  MH_CHECK(job.is_step_complete());
  StepReady ready = ready_step(job.row.id, job.row.step, counted_shards(state, job.workunits));
  ready.parameters_digest = job.row.parameters_digest;
  ready.optimizer_digest = job.row.optimizer_digest;
  return ready;
}

void complete_step(State& state, JobEntry& job, const StepOutput& output, TimePoint now) {
  MH_CHECK(job.is_step_complete());
  {
    const CountedShards shards = counted_shards(state, job.workunits);
    StepRow row = step_row(job, job.row.step, shards, output, now);
    record_step(state, job,
                {.row = row,
                 .shards = shards,
                 .output = output,
                 .parameters_before = job.row.parameters_digest,
                 .optimizer_before = job.row.optimizer_digest});
    job.row.training_loss = row.loss;
    job.row.training_accuracy = row.accuracy;
    state.store(std::move(row));
  }
  release_updates(state, job);
  for (const WorkunitId id : job.workunits) state.forget(id);
  job.workunits.clear();
  job.done_count = 0;

  book(state, job, "step " + std::to_string(job.row.step), now);
  ++job.row.step;
  job.row.last_step = now;
  job.row.parameters_digest = output.parameters_digest;
  state.blobs.add(output.optimizer_digest);
  state.release(job.row.optimizer_digest);
  job.row.optimizer_digest = output.optimizer_digest;
  keep_checkpoint(state, job);
  limit_retained(state, job);
  go_on(state, job, now);
}

void go_on(State& state, JobEntry& job, TimePoint now) {
  if (is_evaluation_due(job)) begin_evaluation(state, job, now);
  prune_checkpoints(state, job);
  state.touch(job);
  if (job.row.step < job.row.step_count) {
    make_step_workunits(state, job);
  } else {
    finish_if_done(state, job, now);
  }
}

void end_job(State& state, JobEntry& job, JobState to, std::string reason, TimePoint now) {
  release_updates(state, job);
  drop_workunits(state, job.workunits, now);
  job.workunits.clear();
  job.done_count = 0;
  while (!job.evaluations.empty()) {
    skip_evaluation(state, job, job.evaluations.begin()->first, now);
  }
  state.release(job.row.optimizer_digest);
  job.row.optimizer_digest = {};
  constexpr const char* kWords[] = {"", "running", "paused", "finished", "cancelled", "failed"};
  std::string text = std::string("job ") + kWords[static_cast<int>(to)] + " after " +
                     std::to_string(job.row.step) + " of " + std::to_string(job.row.step_count) +
                     " steps";
  if (!reason.empty()) text += ": " + reason;
  book(state, job, text, now);
  state.log(job, now, std::move(text));
  state.set_state(job, to, std::move(reason), now);
  prune_checkpoints(state, job);
}

}  // namespace mh::scheduler
