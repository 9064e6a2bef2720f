// See rewind.h.
#include "scheduler/rewind.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "proto/base/utf8.h"
#include "scheduler/checkpoints.h"
#include "scheduler/counted_shards.h"
#include "scheduler/credit.h"
#include "scheduler/job_steps.h"
#include "scheduler/standing.h"
#include "scheduler/step_records.h"

namespace mh::scheduler {
namespace {

std::string number(std::uint64_t value) { return std::to_string(value); }

std::string count_text(std::uint64_t count, const std::string& what) {
  return number(count) + " " + what + (count == 1 ? "" : "s");
}

// A step as it was, without what is taken out of it.
struct PastStep {
  std::uint64_t step = 0;
  CountedShards kept;
  const RetainedStep* retained = nullptr;
};

// The record that counts for a step of the past is the last one of it.
const RetainedStep* retained_step(const JobEntry& job, std::uint64_t step) {
  const auto found = std::find_if(job.retained.rbegin(), job.retained.rend(),
                                  [step](const RetainedStep& kept) { return kept.step == step; });
  return found == job.retained.rend() ? nullptr : &*found;
}

Error not_kept(const JobEntry& job, std::uint64_t step) {
  std::string kept = "none is";
  if (!job.retained.empty()) {
    kept = "those of steps " + number(job.retained.front().step) + " to " +
           number(job.retained.back().step) + " are";
  }
  return fail(Errc::kFailedPrecondition,
              "the updates of step " + number(step) + " of job " + to_string(job.row.id) +
                  " are no longer kept; " + kept +
                  " (--keep-steps and --keep-bytes of 'manyhands-server run' say how many)");
}

std::string hosts_text(const State& state, const std::vector<HostId>& hosts) {
  std::string text;
  for (const HostId id : hosts) {
    text += (text.empty() ? "" : ", ") + host_text(state.hosts.at(id));
  }
  return text;
}

Status check_order(const State& state, const JobEntry& job, const RewindOrder& order) {
  if (job.row.state == JobState::kCancelled)
    return fail(Errc::kFailedPrecondition,
                "job " + to_string(job.row.id) + " was cancelled; it does not go on");
  if (order.hosts.empty() || order.hosts.size() > kRewindHostsMax)
    return fail(Errc::kInvalidArgument, "without: " + number(order.hosts.size()) +
                                            " hosts are named, allowed: 1 to " +
                                            number(kRewindHostsMax));
  for (const HostId host : order.hosts) {
    if (!state.hosts.contains(host))
      return fail(Errc::kNotFound, "there is no host " + to_string(host));
  }
  if (order.to >= job.row.step)
    return fail(Errc::kInvalidArgument,
                "to: " + number(order.to) + ", job " + to_string(job.row.id) + " has done " +
                    count_text(job.row.step, "step") +
                    (job.row.step == 0 ? "" : ", numbers 0 to " + number(job.row.step - 1)));
  if (order.reason.size() > kRewindReasonBytesMax || find_bad_utf8(order.reason))
    return fail(Errc::kInvalidArgument, "reason: " + number(order.reason.size()) +
                                            " bytes, allowed: UTF-8 of at most " +
                                            number(kRewindReasonBytesMax));
  return {};
}

// Later steps that are taken again, too, end here (exclusive).
std::uint64_t end_of_retakes(const JobEntry& job, const RewindOrder& order) {
  return order.reapplies ? job.row.step : order.to + 1;
}

bool is_named(const RewindOrder& order, HostId host) {
  return std::find(order.hosts.begin(), order.hosts.end(), host) != order.hosts.end();
}

// The rows of each step that is taken again, in the order of shards.
std::map<std::uint64_t, CountedShards> rows_by_step(const JobEntry& job, const RewindOrder& order,
                                                    const RewindPast& past) {
  std::map<std::uint64_t, CountedShards> steps;
  const std::uint64_t end = end_of_retakes(job, order);
  for (std::size_t i = 0; i < past.workunits.size(); ++i) {
    const WorkunitRow& workunit = past.workunits[i];
    const bool is_retaken =
        workunit.kind == WorkKind::kGradient && workunit.step >= order.to && workunit.step < end;
    if (is_retaken) steps[workunit.step].push_back({&workunit, &past.results[i]});
  }
  for (auto& [step, shards] : steps) {
    std::sort(shards.begin(), shards.end(), [](const CountedShard& a, const CountedShard& b) {
      return a.workunit->shard < b.workunit->shard;
    });
  }
  return steps;
}

// What the rows say went into a step is what its record says.
bool is_as_recorded(const CountedShards& shards, const RetainedStep& retained) {
  return shards.size() <= retained.blobs.size() &&
         std::equal(shards.begin(), shards.end(), retained.blobs.begin(),
                    [](const CountedShard& shard, const Digest& update) {
                      return shard.result->update_digest == update;
                    });
}

Result<PastStep> past_step(const JobEntry& job, const RewindOrder& order, std::uint64_t step,
                           const CountedShards& shards) {
  PastStep past;
  past.step = step;
  past.retained = retained_step(job, step);
  if (past.retained == nullptr) return not_kept(job, step);
  if (!is_as_recorded(shards, *past.retained))
    return fail(Errc::kDataLoss, "the results of step " + number(step) + " of job " +
                                     to_string(job.row.id) + " are not those of its record");
  std::set<HostId> voices;
  for (const CountedShard& shard : shards) {
    if (is_named(order, shard.result->host)) continue;
    past.kept.push_back(shard);
    voices.insert(shard.result->host);
  }
  const std::uint64_t needed = std::max<std::uint64_t>(job.row.hosts_min, 1);
  if (voices.size() >= needed) return past;
  std::string advice = "leave the later steps to be computed anew";
  if (!order.reapplies) {
    advice = step == 0 ? "submit the job again"
                       : "rewind to an earlier step, so that this one is computed anew";
  }
  return fail(Errc::kFailedPrecondition, "step " + number(step) + " of job " +
                                             to_string(job.row.id) + " would have updates of " +
                                             count_text(voices.size(), "host") + ", it needs " +
                                             number(needed) + ": " + advice);
}

Result<std::vector<PastStep>> past_steps(const JobEntry& job, const RewindOrder& order,
                                         const RewindPast& past) {
  const std::map<std::uint64_t, CountedShards> rows = rows_by_step(job, order, past);
  std::vector<PastStep> steps;
  for (std::uint64_t step = order.to; step < end_of_retakes(job, order); ++step) {
    const auto found = rows.find(step);
    MH_TRY(PastStep taken,
           past_step(job, order, step, found == rows.end() ? CountedShards{} : found->second));
    steps.push_back(std::move(taken));
  }
  return steps;
}

// Carries a rewind out.
class Rewinding {
 public:
  Rewinding(State& state, const RewindOrder& order, const RewindPast& past, TimePoint now)
      : state_(state), job_(state.job(order.job)), order_(order), past_(past), now_(now) {}

  Rewound run(const std::vector<PastStep>& steps, const std::vector<StepOutput>& outputs) {
    MH_CHECK(!steps.empty() && outputs.size() == steps.size());
    MH_PROBE("a job is rewound");
    const std::uint64_t steps_before = job_.row.step;
    rewound_.is_new = true;
    rewound_.step = steps.back().step + 1;
    rewound_.undone_step_count = steps_before - rewound_.step;
    rewound_.reapplied_step_count = steps.size() - 1;
    load_past();
    book(state_, job_, "before a rewind to step " + number(order_.to), now_);
    job_.row.removed_sample_count += samples_lacking(steps, steps_before);
    undo_past();
    undo_present();
    release_checkpoints();
    take_again(steps, outputs);
    forget_evaluations();
    punish();
    tell();
    resume();
    return rewound_;
  }

 private:
  // Those of a job that had ended before the start are not in memory.
  void load_past() {
    if (!job_.has_ended()) return;
    if (job_.are_contributions_stored_only) {
      job_.are_contributions_stored_only = false;
      for (const ContributionRow& row : past_.contributions) {
        const auto [entry, is_new] = job_.contributions.try_emplace(row.host);
        if (!is_new) continue;
        entry->second.row = row;
        job_.valid_gflop += row.credit + row.credit_held + row.credit_forfeited;
      }
    }
    for (const AgreementRow& row : past_.agreements) {
      const std::pair<std::string, std::string> classes(row.first_class, row.second_class);
      job_.agreements.try_emplace(classes, AgreementRow(row));
    }
  }

  // Samples that the steps will lack, less those that they lack now.
  std::uint64_t samples_lacking(const std::vector<PastStep>& steps, std::uint64_t steps_before) {
    std::uint64_t had = 0;
    for (const WorkunitRow& workunit : past_.workunits) {
      const bool is_counted = workunit.kind == WorkKind::kGradient && workunit.step >= order_.to &&
                              workunit.step < steps_before;
      if (is_counted) had += workunit.end - workunit.begin;
    }
    std::uint64_t has = 0;
    for (const PastStep& step : steps) has += sum_of(step.kept).samples;
    const std::uint64_t lacked = (steps_before - order_.to) * job_.row.batch - had;
    const std::uint64_t lacks = steps.size() * job_.row.batch - has;
    MH_CHECK(job_.row.removed_sample_count >= lacked);
    // Unsigned numbers wrap around and come back.
    return lacks - lacked;
  }

  bool stays(const WorkunitRow& workunit, HostId host) const {
    if (workunit.kind == WorkKind::kEvaluation) return workunit.step <= order_.to;
    return workunit.step < rewound_.step && !is_named(order_, host);
  }

  // What a result that counted did for its host, taken back. Returns what it is now.
  ResultState uncount(const WorkunitRow& workunit, ResultRow& result) {
    ResultState to = ResultState::kUndone;
    if (workunit.kind == WorkKind::kEvaluation) return to;
    HostEntry& host = state_.host(result.host);
    ContributionEntry& entry = state_.contribution(job_, result.host);
    entry.row.sample_count -= workunit.end - workunit.begin;
    if (is_named(order_, result.host)) {
      to = ResultState::kRejected;
      --entry.row.valid_count;
      ++entry.row.rejected_count;
      --host.row.valid_count;
      ++host.row.rejected_count;
      withdrawn_[result.host] += result.credit;
      job_.valid_gflop -= result.credit;
      result.credit = 0;
      ++rewound_.removed_update_count;
      rewound_.removed_sample_count += workunit.end - workunit.begin;
    } else {
      ++entry.row.undone_count;
    }
    result.reason = "step " + number(workunit.step) + " was taken back: " + reason();
    state_.changed(entry);
    state_.changed(host);
    return to;
  }

  void undo_past() {
    for (std::size_t i = 0; i < past_.workunits.size(); ++i) {
      WorkunitRow workunit = past_.workunits[i];
      ResultRow result = past_.results[i];
      if (state_.workunits.contains(workunit.id) || stays(workunit, result.host)) continue;
      result.state = uncount(workunit, result);
      workunit.state = WorkunitState::kDropped;
      workunit.canonical = {};
      state_.store(workunit);
      state_.store(std::move(result));
    }
  }

  // The step in progress starts from parameters that are of the past.
  void undo_present() {
    for (const WorkunitId id : job_.workunits) {
      WorkunitEntry& workunit = state_.workunit(id);
      if (workunit.row.state != WorkunitState::kDone) continue;
      ResultRow& result = state_.result(workunit.row.canonical).row;
      state_.release(result.update_digest);
      const ResultState to = uncount(workunit.row, result);
      state_.undo(workunit, to);
    }
    drop_workunits(state_, job_.workunits, now_);
    job_.workunits.clear();
    job_.done_count = 0;
  }

  void release_checkpoints() {
    while (!job_.checkpoints.empty() && job_.checkpoints.rbegin()->first > order_.to) {
      CheckpointRow row = job_.checkpoints.rbegin()->second;
      row.is_kept = false;
      state_.store(row);
      state_.release(row.parameters_digest);
      job_.checkpoints.erase(row.step);
    }
  }

  void take_again(const std::vector<PastStep>& steps, const std::vector<StepOutput>& outputs) {
    Digest parameters = steps.front().retained->parameters_before;
    Digest optimizer = steps.front().retained->optimizer_before;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const StepRow row = step_row(job_, steps[i].step, steps[i].kept, outputs[i], now_);
      record_step(state_, job_,
                  {.kind = i == 0 ? RecordKind::kRewind : RecordKind::kReapply,
                   .reason = i == 0 ? reason() : "",
                   .row = row,
                   .shards = steps[i].kept,
                   .output = outputs[i],
                   .parameters_before = parameters,
                   .optimizer_before = optimizer});
      parameters = outputs[i].parameters_digest;
      optimizer = outputs[i].optimizer_digest;
      job_.row.training_loss = row.loss;
      job_.row.training_accuracy = row.accuracy;
      state_.store(row);
    }
    state_.release(job_.row.optimizer_digest);
    state_.blobs.add(optimizer);
    job_.row.step = rewound_.step;
    job_.row.last_step = now_;
    job_.row.parameters_digest = parameters;
    job_.row.optimizer_digest = optimizer;
    keep_checkpoint(state_, job_);
    limit_retained(state_, job_);
  }

  // Of parameters that are of the past.
  void forget_evaluations() {
    while (!job_.evaluations.empty() && job_.evaluations.rbegin()->first > order_.to) {
      for (const WorkunitId id : job_.evaluations.rbegin()->second.workunits) {
        WorkunitEntry& workunit = state_.workunit(id);
        if (workunit.row.state == WorkunitState::kDone) state_.undo(workunit, ResultState::kUndone);
      }
      skip_evaluation(state_, job_, job_.evaluations.rbegin()->first, now_);
    }
    std::map<std::uint64_t, EvaluationRow> done;
    for (const EvaluationRow& row : past_.evaluations) {
      if (row.state == EvaluationState::kDone) done[row.step] = row;
    }
    for (const auto& known : {job_.last_evaluation, job_.best_evaluation}) {
      if (known) done[known->step] = *known;
    }
    job_.last_evaluation.reset();
    job_.best_evaluation.reset();
    for (auto& [step, row] : done) {
      if (step > order_.to) {
        row.state = EvaluationState::kSkipped;
        row.finished = now_;
        state_.store(row);
        continue;
      }
      job_.last_evaluation = row;
      if (!job_.best_evaluation || is_better(row, *job_.best_evaluation, job_.row.has_classes))
        job_.best_evaluation = row;
    }
  }

  void punish() {
    const std::string why = "an admin took its updates out of job " + to_string(job_.row.id) +
                            " from step " + number(order_.to) + " on: " + reason();
    for (const auto& [id, gflop] : withdrawn_) {
      rewound_.withdrawn_gflop += gflop;
      withdraw(state_, job_, state_.host(id), gflop, why, now_);
    }
    for (const HostId id : std::set<HostId>(order_.hosts.begin(), order_.hosts.end())) {
      HostEntry& host = state_.host(id);
      forfeit_held(state_, host, why, now_);
      ban(state_, host, {job_.row.id, {}}, why, now_);
    }
  }

  void tell() {
    std::string text = "rewound to step " + number(order_.to) + " without " +
                       hosts_text(state_, order_.hosts) + ": " +
                       count_text(rewound_.removed_update_count, "update") + " taken out";
    if (rewound_.reapplied_step_count > 0)
      text += ", " + count_text(rewound_.reapplied_step_count, "later step") + " applied again";
    if (rewound_.undone_step_count > 0)
      text += ", " + count_text(rewound_.undone_step_count, "later step") + " to be computed anew";
    state_.log(job_, now_, text + ": " + reason());
  }

  void resume() {
    state_.effects().jobs_rewound.push_back(job_.row.id);
    if (job_.has_ended()) state_.revive(job_);
    go_on(state_, job_, now_);
  }

  std::string reason() const {
    return order_.reason.empty() ? "updates were found to be bad" : order_.reason;
  }

  State& state_;
  JobEntry& job_;
  const RewindOrder& order_;
  const RewindPast& past_;
  const TimePoint now_;
  Rewound rewound_;
  std::map<HostId, double> withdrawn_;
};

}  // namespace

Result<RewindPlan> plan_rewind(const State& state, const RewindOrder& order,
                               const RewindPast& past) {
  MH_CHECK(past.workunits.size() == past.results.size());
  const auto found = state.jobs.find(order.job);
  if (found == state.jobs.end())
    return fail(Errc::kNotFound, "there is no job " + to_string(order.job));
  const JobEntry& job = found->second;
  MH_TRY_VOID(check_order(state, job, order));
  RewindPlan plan;
  plan.record_count = job.row.record_count;
  bool is_any_named = false;
  for (std::size_t i = 0; i < past.workunits.size() && !is_any_named; ++i) {
    const WorkunitRow& workunit = past.workunits[i];
    is_any_named = workunit.kind == WorkKind::kGradient && workunit.step >= order.to &&
                   workunit.step < job.row.step && is_named(order, past.results[i].host);
  }
  if (!is_any_named) {
    const RetainedStep* retained = retained_step(job, order.to);
    if (retained != nullptr && retained->kind == RecordKind::kRewind) {
      plan.is_done_already = true;
      return plan;
    }
    return fail(Errc::kFailedPrecondition, "job " + to_string(job.row.id) + " has no update of " +
                                               hosts_text(state, order.hosts) + " from step " +
                                               number(order.to) + " on");
  }
  MH_TRY(const std::vector<PastStep> steps, past_steps(job, order, past));
  for (const PastStep& step : steps)
    plan.steps.push_back(ready_step(job.row.id, step.step, step.kept));
  plan.steps.front().parameters_digest = steps.front().retained->parameters_before;
  plan.steps.front().optimizer_digest = steps.front().retained->optimizer_before;
  return plan;
}

Rewound rewind(State& state, const RewindOrder& order, const RewindPast& past,
               const std::vector<StepOutput>& outputs, TimePoint now) {
  const auto steps = past_steps(state.job(order.job), order, past);
  MH_CHECK(steps.has_value());
  return Rewinding(state, order, past, now).run(*steps, outputs);
}

}  // namespace mh::scheduler
