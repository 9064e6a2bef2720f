// See account.h. Here: which changes of rows are legal.
#include "tests/sim/account.h"

#include <algorithm>
#include <cmath>

namespace mh::sim {
namespace {

using scheduler::EvaluationState;
using scheduler::JobState;
using scheduler::ResultState;
using scheduler::WorkKind;
using scheduler::WorkunitState;

bool is_legal(JobState from, JobState to) {
  return from == JobState::kRunning || from == JobState::kPaused || from == to;
}

// Several changes within one decision count as one.
bool is_legal(WorkunitState from, WorkunitState to) {
  if (from == WorkunitState::kDone || from == WorkunitState::kDropped) return from == to;
  return true;
}

bool is_legal(ResultState from, ResultState to) {
  if (from == to || from == ResultState::kLeased) return true;
  if (from == ResultState::kReported) {
    return to != ResultState::kLeased && to != ResultState::kExpired && to != ResultState::kFailed;
  }
  return from == ResultState::kExpired && to != ResultState::kObsolete;
}

// What never changes of a row.
bool is_same_job(const scheduler::JobRow& a, const scheduler::JobRow& b) {
  return a.name == b.name && a.job_digest == b.job_digest &&
         a.manifest_digest == b.manifest_digest && a.step_count == b.step_count &&
         a.batch == b.batch && a.shard == b.shard;
}

}  // namespace

void Account::apply(const scheduler::Changes& changes, const scheduler::Effects& effects,
                    TimePoint now, bool ends_leases) {
  for (const auto& row : changes.jobs) check_job(row, changes);
  for (const auto& row : changes.workunits) check_workunit(row);
  for (const auto& row : changes.results) check_result(row);
  for (const auto& row : changes.steps) {
    const scheduler::JobRow* job = rows_.job(row.job);
    if (job == nullptr) throw Violation("step", "a step of an unknown job");
    check_step(row, job->parameters_digest);
  }
  for (const auto& row : changes.hosts) {
    const scheduler::HostRow* before = rows_.host(row.id);
    if (before == nullptr) hosts_[row.id].quota = options_.quota_start;
    if (before != nullptr && row.standing == scheduler::Standing::kNew &&
        before->standing != scheduler::Standing::kNew) {
      // Forgiven.
      hosts_[row.id].failures_in_row = 0;
      hosts_[row.id].paused_until = {};
    }
  }
  follow_results(changes, now);
  for (const auto& row : changes.evaluations) {
    if (row.state == EvaluationState::kDone) check_evaluation(row, changes);
  }
  rows_.apply(changes);
  for (const auto& row : changes.jobs) {
    if (row.state == JobState::kFailed) check_job_failure(row);
    if (row.state != JobState::kRunning && row.state != JobState::kPaused) accepted_.erase(row.id);
  }
  for (const auto& row : changes.checkpoints) check_checkpoint(row);
  // Agreeing and differing results of one host in one decision: their order is the quorum's.
  for (const auto& row : changes.hosts) {
    const auto of_host = [&](const scheduler::ResultRow& result) { return result.host == row.id; };
    const auto count = std::count_if(changes.results.begin(), changes.results.end(), of_host);
    const bool has_agreed = std::any_of(
        changes.results.begin(), changes.results.end(), [&](const scheduler::ResultRow& result) {
          return of_host(result) &&
                 (result.state == ResultState::kAgreed || result.state == ResultState::kRejected);
        });
    if (count < 2 || !has_agreed) continue;
    hosts_[row.id].quota = row.lease_quota;
    hosts_[row.id].failures_in_row = 0;
    hosts_[row.id].paused_until = {};
  }
  check_hosts(changes);
  check_copies(changes);
  check_effects(changes, effects);
  if (ends_leases) check_deadlines(now);
}

void Account::check_job(const scheduler::JobRow& row, const scheduler::Changes& changes) const {
  const scheduler::JobRow* before = rows_.job(row.id);
  const std::string name = "job " + to_string(row.id);
  if (before == nullptr) {
    if (row.step != 0 || row.state != JobState::kRunning) {
      throw Violation("states", name + " begins in the middle");
    }
    return;
  }
  if (!is_legal(before->state, row.state)) {
    throw Violation("states", name + " goes from state " +
                                  std::to_string(static_cast<int>(before->state)) + " to " +
                                  std::to_string(static_cast<int>(row.state)));
  }
  if (!is_same_job(*before, row)) throw Violation("states", name + " became another job");
  if (row.version < before->version) throw Violation("states", name + " has an older version");
  const auto steps = static_cast<std::uint64_t>(
      std::count_if(changes.steps.begin(), changes.steps.end(),
                    [&](const scheduler::StepRow& step) { return step.job == row.id; }));
  if (row.step != before->step + steps || steps > 1 || row.step > row.step_count) {
    throw Violation("step", name + " goes from step " + std::to_string(before->step) + " to " +
                                std::to_string(row.step) + " with " + std::to_string(steps) +
                                " finished steps");
  }
  const auto entries = static_cast<std::uint64_t>(
      std::count_if(changes.log.begin(), changes.log.end(),
                    [&](const scheduler::JobLogRow& entry) { return entry.job == row.id; }));
  if (row.log_count != before->log_count + entries) {
    throw Violation("states", "the log of " + name + " has gaps");
  }
}

// Rule 13: so many hosts, or so often.
void Account::check_job_failure(const scheduler::JobRow& row) const {
  for (const auto& [id, workunit] : rows_.workunits) {
    if (workunit.job != row.id) continue;
    std::set<HostId> hosts;
    std::uint32_t failures = 0;
    const auto results = rows_.results_of.find(id);
    if (results == rows_.results_of.end()) continue;
    for (const ResultId result_id : results->second) {
      const scheduler::ResultRow& result = rows_.results.at(result_id);
      if (result.state != ResultState::kRejected && result.state != ResultState::kFailed) continue;
      hosts.insert(result.host);
      ++failures;
    }
    if (hosts.size() >= options_.failed_hosts_max || failures >= options_.failures_max) return;
  }
  throw Violation("job-end",
                  "job " + to_string(row.id) + " failed without a cause: " + row.state_reason);
}

void Account::check_workunit(const scheduler::WorkunitRow& row) const {
  const std::string name = "workunit " + to_string(row.id);
  const scheduler::WorkunitRow* before = rows_.workunit(row.id);
  const bool is_done = row.state == WorkunitState::kDone;
  if (row.canonical.is_valid() != is_done) {
    throw Violation("states", name + " is done without a canonical result, or the reverse");
  }
  if (before == nullptr) {
    if (is_done || row.begin >= row.end) throw Violation("states", name + " begins done or empty");
    return;
  }
  if (!is_legal(before->state, row.state)) {
    throw Violation("states", name + " goes from state " +
                                  std::to_string(static_cast<int>(before->state)) + " to " +
                                  std::to_string(static_cast<int>(row.state)));
  }
  if (before->canonical.is_valid() && before->canonical != row.canonical) {
    throw Violation("counted-once", name + " has a second canonical result");
  }
  if (before->begin != row.begin || before->end != row.end || before->step != row.step ||
      before->shard != row.shard || before->job != row.job) {
    throw Violation("states", name + " became another workunit");
  }
}

void Account::check_result(const scheduler::ResultRow& row) const {
  const std::string name = "result " + to_string(row.id);
  const scheduler::ResultRow* before = rows_.result(row.id);
  if (before == nullptr) {
    if (row.state != ResultState::kLeased) throw Violation("states", name + " begins unleased");
    return;
  }
  if (!is_legal(before->state, row.state)) {
    throw Violation("states", name + " goes from state " +
                                  std::to_string(static_cast<int>(before->state)) + " to " +
                                  std::to_string(static_cast<int>(row.state)));
  }
  if (before->host != row.host || before->workunit != row.workunit) {
    throw Violation("states", name + " changed its host or workunit");
  }
  if (row.state != ResultState::kValid || before->state == ResultState::kValid) return;
  for (const ResultId other : rows_.results_of.at(row.workunit)) {
    if (other != row.id && rows_.results.at(other).state == ResultState::kValid) {
      throw Violation("counted-once", "results " + to_string(other) + " and " + to_string(row.id) +
                                          " of one workunit are both valid");
    }
  }
}

// Rule 16, as far as it says what must be kept.
void Account::check_checkpoint(const scheduler::CheckpointRow& row) const {
  if (row.is_kept) return;
  const scheduler::JobRow& job = *rows_.job(row.job);
  const std::string name =
      "checkpoint " + std::to_string(row.step) + " of job " + to_string(row.job);
  if (row.step + options_.checkpoints_kept > job.step) {
    throw Violation("blobs", name + " is one of the newest and given up");
  }
  const auto evaluation = rows_.evaluations.find({row.job, row.step});
  if (evaluation != rows_.evaluations.end() &&
      evaluation->second.state == EvaluationState::kPending) {
    throw Violation("blobs", name + " waits for its evaluation and is given up");
  }
}

void Account::check_durable(const Rows& durable) const {
  if (!durable.keeps_history()) return;
  for (const auto& [result, host] : acknowledged_) {
    const scheduler::ResultRow* row = durable.result(result);
    const bool counts = row != nullptr && row->state == ResultState::kValid && row->host == host &&
                        durable.workunits.at(row->workunit).canonical == result;
    const bool agrees = row != nullptr && row->state == ResultState::kAgreed && row->host == host &&
                        durable.workunits.at(row->workunit).state == WorkunitState::kDone;
    if (!counts && !agrees) {
      throw Violation("acknowledged",
                      "result " + to_string(result) + " was told to be valid and does not count");
    }
  }
  std::map<HostId, double> credit;
  for (const auto& [id, row] : durable.results) {
    if (row.state != ResultState::kValid && row.state != ResultState::kAgreed) continue;
    const scheduler::WorkunitRow& workunit = durable.workunits.at(row.workunit);
    const scheduler::JobRow& job = durable.jobs.at(row.job);
    const double flops =
        workunit.kind == WorkKind::kGradient ? job.training_flops : job.evaluation_flops;
    credit[row.host] += static_cast<double>(workunit.end - workunit.begin) * flops / 1e9;
  }
  std::map<HostId, double> forfeited;
  for (const auto& [key, row] : durable.contributions) forfeited[row.host] += row.credit_forfeited;
  for (const auto& [id, row] : durable.hosts) {
    const double earned = credit[id];
    if (std::abs(row.credit + row.credit_held + forfeited[id] - earned) >
        1e-9 * std::max(1.0, earned)) {
      throw Violation("credit", "host " + to_string(id) + " has credit " +
                                    std::to_string(row.credit) + ", its valid results make " +
                                    std::to_string(earned));
    }
  }
}

}  // namespace mh::sim
