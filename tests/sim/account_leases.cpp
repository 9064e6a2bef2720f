// See account.h. Here: leases and their deadlines, quotas, credit, copies, verdicts.
#include <algorithm>
#include <cmath>

#include "scheduler/lease_rules.h"
#include "tests/sim/account.h"

namespace mh::sim {
namespace {

using scheduler::Outcome;
using scheduler::ResultState;
using scheduler::Screening;
using scheduler::Verdict;
using scheduler::WorkKind;
using scheduler::WorkunitState;

std::string name_of(ResultId id) { return "result " + to_string(id); }
std::string name_of(HostId id) { return "host " + to_string(id); }

// What the rows of an ended or decided result say to a report of it.
Verdict verdict_of(ResultState state) {
  switch (state) {
    case ResultState::kReported:
      return Verdict::kPending;
    case ResultState::kValid:
    case ResultState::kAgreed:
    case ResultState::kUndone:
      return Verdict::kValid;
    case ResultState::kRejected:
      return Verdict::kRejected;
    case ResultState::kFailed:
    case ResultState::kReturned:
      return Verdict::kNoted;
    case ResultState::kLeased:
    case ResultState::kExpired:
    case ResultState::kObsolete:
      return Verdict::kTooLate;
  }
  return Verdict::kUnknown;
}

// What becomes of an open result with this report.
ResultState outcome_of(const scheduler::Report& report, const scheduler::WorkunitRow& workunit) {
  if (report.outcome == Outcome::kFailed) return ResultState::kFailed;
  if (report.outcome == Outcome::kReturned || report.screening == Screening::kMissing) {
    return ResultState::kReturned;
  }
  const bool is_wrong = report.screening == Screening::kRefused ||
                        !std::isfinite(report.loss_sum) ||
                        report.correct_count > workunit.end - workunit.begin ||
                        (workunit.kind == WorkKind::kGradient && report.update_digest.is_zero());
  return is_wrong ? ResultState::kRejected : ResultState::kValid;
}

bool is_open(ResultState state) {
  return state == ResultState::kLeased || state == ResultState::kExpired;
}

}  // namespace

void Account::restart(const Rows& durable, TimePoint now) {
  rows_ = durable;
  hosts_.clear();
  credit_.clear();
  leases_.clear();
  deadlines_.clear();
  accepted_.clear();
  steps_announced_.clear();
  for (const auto& [id, row] : rows_.hosts) {
    hosts_[id].quota = row.lease_quota;
    hosts_[id].credit = row.credit + row.credit_held;
  }
  for (const auto& [key, row] : rows_.contributions) {
    credit_[key] = row.credit + row.credit_held + row.credit_forfeited;
    hosts_[row.host].credit += row.credit_forfeited;
  }
  for (const auto& [id, row] : rows_.results) {
    const scheduler::JobRow& job = rows_.jobs.at(row.job);
    const scheduler::WorkunitRow& workunit = rows_.workunits.at(row.workunit);
    if (row.state == ResultState::kLeased) {
      hosts_[row.host].leased.insert(id);
      leases_[id] = {{}, renewable_until(options_, row.leased, row.lease_length), row.lease_length};
      set_deadline(id, now + row.lease_length + options_.restart_grace);
    }
    const bool is_current =
        job.state == scheduler::JobState::kRunning || job.state == scheduler::JobState::kPaused;
    if (row.state == ResultState::kValid && is_current && workunit.kind == WorkKind::kGradient &&
        workunit.step == job.step) {
      accepted_[row.job].insert(row.update_digest);
    }
  }
}

void Account::check_start(const scheduler::Effects& effects) {
  check_accepted(effects);
  check_steps_ready(effects);
}

bool Account::is_live(ResultId result) const { return leases_.contains(result); }

void Account::set_deadline(ResultId id, TimePoint deadline) {
  Lease& lease = leases_.at(id);
  deadlines_.erase({lease.deadline, id});
  lease.deadline = deadline;
  deadlines_.insert({deadline, id});
}

// ---- Before the decision ----

void Account::expect(const scheduler::ExchangeEvent& event) {
  expect_no_call();
  caller_ = event.host;
  held_ = event.held;
  held_received_ = event.received;
  std::map<ResultId, ResultState> ahead;
  std::set<WorkunitId> done;
  std::set<JobId> shaken;
  for (const scheduler::Report& report : event.reports) {
    expected_.push_back(predict(report, event, ahead, done, shaken));
    reported_.push_back(report.result);
  }
  follow_held(event);
}

void Account::expect_no_call() {
  expected_.clear();
  reported_.clear();
  new_leases_.clear();
  held_.clear();
  caller_ = HostId();
}

Account::Expectation Account::predict(const scheduler::Report& report,
                                      const scheduler::ExchangeEvent& event,
                                      std::map<ResultId, ResultState>& ahead,
                                      std::set<WorkunitId>& done, std::set<JobId>& shaken) const {
  Expectation expected;
  const scheduler::ResultRow* row = rows_.result(report.result);
  if (row == nullptr || row->host != event.host) {
    // Rows of finished steps are dropped in long runs: anything may be true of them.
    expected.may_be_late = row == nullptr && !rows_.keeps_history();
    // Another host's, which the coordinator may have forgotten.
    expected.may_be_past = row != nullptr;
    return expected;
  }
  const scheduler::WorkunitRow& workunit = *rows_.workunit(row->workunit);
  const auto changed = ahead.find(row->id);
  const ResultState state = changed == ahead.end() ? row->state : changed->second;
  expected.may_be_late = shaken.contains(row->job);
  const bool is_decided = workunit.state == WorkunitState::kDone ||
                          workunit.state == WorkunitState::kDropped || done.contains(workunit.id);
  if (!is_open(state) || is_decided) {
    expected.verdict = verdict_of(state);
    expected.may_be_past = !is_remembered(*row);
    return expected;
  }
  const ResultState to = outcome_of(report, workunit);
  const bool is_checked =
      rows_.job(row->job)->validation.mode != scheduler::ValidationMode::kNone &&
      to == ResultState::kValid && workunit.kind == WorkKind::kGradient;
  expected.verdict = verdict_of(to);
  expected.may_wait = is_checked;
  if (is_checked) {
    // Whether it counts, waits or differs is the coordinator's draw; what follows hangs on it.
    shaken.insert(row->job);
    ahead[row->id] = ResultState::kReported;
    return expected;
  }
  ahead[row->id] = to;
  if (to == ResultState::kValid) done.insert(workunit.id);
  // A failure may end the job, and so may the end of the last evaluation.
  if (to != ResultState::kReturned &&
      !(to == ResultState::kValid && workunit.kind == WorkKind::kGradient)) {
    shaken.insert(row->job);
  }
  return expected;
}

// The coordinator remembers a result while its workunit is at hand, and the latest few beyond.
bool Account::is_remembered(const scheduler::ResultRow& row) const {
  const scheduler::WorkunitRow& workunit = *rows_.workunit(row.workunit);
  const scheduler::JobRow& job = *rows_.job(row.job);
  const bool is_running =
      job.state == scheduler::JobState::kRunning || job.state == scheduler::JobState::kPaused;
  if (is_running && workunit.kind == WorkKind::kGradient && workunit.step == job.step) return true;
  const auto count =
      std::count_if(rows_.results.begin(), rows_.results.end(),
                    [&](const auto& other) { return other.second.host == row.host; });
  return static_cast<std::uint64_t>(count) <= options_.finished_results_kept;
}

// ---- Results follow from the rows ----

void Account::follow_results(const scheduler::Changes& changes, TimePoint now) {
  const auto find = [&](ResultId id) {
    return std::find_if(changes.results.begin(), changes.results.end(),
                        [&](const scheduler::ResultRow& row) { return row.id == id; });
  };
  // Reports come first, in their order: it decides what a quota is after them.
  std::set<ResultId> followed;
  for (const ResultId id : reported_) {
    const auto row = find(id);
    if (row != changes.results.end() && followed.insert(id).second) follow_result(*row, now);
  }
  for (const scheduler::ResultRow& row : changes.results) {
    if (!followed.contains(row.id)) follow_result(row, now);
  }
}

void Account::follow_result(const scheduler::ResultRow& row, TimePoint now) {
  const scheduler::ResultRow* before = rows_.result(row.id);
  if (row.state == ResultState::kLeased) {
    if (before == nullptr || before->state != ResultState::kLeased) follow_new_lease(row, now);
    return;
  }
  if (before == nullptr || before->state == row.state) return;
  if (before->state == ResultState::kLeased) leave_lease(row, now);
  HostAccount& host = hosts_[row.host];
  const bool is_loss = row.state == ResultState::kExpired;
  const bool is_failure = row.state == ResultState::kRejected || row.state == ResultState::kFailed;
  if (is_loss || is_failure) host.quota = std::max<std::uint32_t>(1, host.quota / 2);
  if (is_failure) {
    host.paused_until = now + failure_pause(options_, ++host.failures_in_row);
  }
  if (row.state != ResultState::kValid && row.state != ResultState::kAgreed) return;
  host.quota = std::min(options_.quota_max, host.quota + 1);
  host.failures_in_row = 0;
  host.paused_until = {};
  const scheduler::WorkunitRow& workunit = *rows_.workunit(row.workunit);
  const scheduler::JobRow& job = *rows_.job(row.job);
  const double flops =
      workunit.kind == WorkKind::kGradient ? job.training_flops : job.evaluation_flops;
  const double earned = static_cast<double>(workunit.end - workunit.begin) * flops / 1e9;
  if (std::abs(row.credit - earned) > 1e-9 * earned) {
    throw Violation("credit", name_of(row.id) + " earns " + std::to_string(row.credit) +
                                  ", its workunit is worth " + std::to_string(earned));
  }
  host.credit += earned;
  credit_[{row.job, row.host}] += earned;
  if (workunit.kind == WorkKind::kGradient && row.state == ResultState::kValid) {
    accepted_[row.job].insert(row.update_digest);
  }
}

void Account::leave_lease(const scheduler::ResultRow& row, TimePoint now) {
  const auto lease = leases_.find(row.id);
  if (lease == leases_.end()) throw Violation("lease", name_of(row.id) + " had no lease to leave");
  if (row.state == ResultState::kExpired && lease->second.deadline > now) {
    // The call itself may have renewed it: follow_held() has seen to that.
    throw Violation("lease", name_of(row.id) + " expired " +
                                 std::to_string((lease->second.deadline - now).count()) +
                                 " ms before its deadline");
  }
  deadlines_.erase({lease->second.deadline, row.id});
  leases_.erase(lease);
  hosts_[row.host].leased.erase(row.id);
}

void Account::follow_new_lease(const scheduler::ResultRow& row, TimePoint now) {
  const bool is_new = rows_.result(row.id) == nullptr;
  Lease lease;
  lease.length = row.lease_length;
  lease.renewable_until = renewable_until(options_, row.leased, row.lease_length);
  leases_[row.id] = lease;
  HostAccount& host = hosts_[row.host];
  host.leased.insert(row.id);
  if (is_new) {
    set_deadline(row.id, now + row.lease_length);
    new_leases_.push_back(row.id);
    if (row.leased != now)
      throw Violation("lease", name_of(row.id) + " was leased at another time");
    if (row.host != caller_) throw Violation("lease", name_of(row.id) + " goes to a host unasked");
    if (host.paused_until > now) {
      throw Violation("quota", name_of(row.host) + " gets work while it pauses after failures");
    }
    return;
  }
  // Taken up again, because the host named it.
  const bool is_named =
      row.host == caller_ && std::find(held_.begin(), held_.end(), row.id) != held_.end();
  if (!is_named || held_received_ >= lease.renewable_until) {
    throw Violation("lease", name_of(row.id) + " is taken up again beyond its age or unnamed");
  }
  set_deadline(row.id, held_received_ + row.lease_length);
}

// ---- After the decision ----

void Account::check_hosts(const scheduler::Changes& changes) const {
  for (const scheduler::HostRow& row : changes.hosts) {
    const HostAccount& host = hosts_.at(row.id);
    if (row.lease_quota != host.quota) {
      throw Violation("quota", name_of(row.id) + " has a quota of " +
                                   std::to_string(row.lease_quota) +
                                   ", the outcomes of its work make " + std::to_string(host.quota));
    }
    // What was forfeited stands in the contributions.
    const double all = row.credit + row.credit_held;
    if (all > host.credit + 1e-9 * std::max(1.0, host.credit)) {
      throw Violation("credit", name_of(row.id) + " has credit " + std::to_string(all) +
                                    ", its valid results make " + std::to_string(host.credit));
    }
  }
  for (const scheduler::ContributionRow& row : changes.contributions) {
    const auto found = credit_.find({row.job, row.host});
    const double earned = found == credit_.end() ? 0 : found->second;
    const double all = row.credit + row.credit_held + row.credit_forfeited;
    if (std::abs(all - earned) > 1e-9 * std::max(1.0, earned)) {
      throw Violation("credit", name_of(row.host) + " has credit " + std::to_string(all) +
                                    " in job " + to_string(row.job) + ", its valid results make " +
                                    std::to_string(earned));
    }
  }
}

void Account::check_copies(const scheduler::Changes& changes) const {
  for (const scheduler::ResultRow& changed : changes.results) {
    if (changed.state != ResultState::kLeased) continue;
    std::set<HostId> holders;
    std::uint32_t copies = 0;
    for (const ResultId id : rows_.results_of.at(changed.workunit)) {
      const scheduler::ResultRow& row = rows_.results.at(id);
      if (row.state != ResultState::kLeased) continue;
      ++copies;
      if (!holders.insert(row.host).second) {
        throw Violation("copies", name_of(row.host) + " computes workunit " +
                                      to_string(row.workunit) + " twice");
      }
    }
    if (copies > options_.copies_max) {
      throw Violation(
          "copies", std::to_string(copies) + " copies of workunit " + to_string(changed.workunit) +
                        " live at once, allowed: " + std::to_string(options_.copies_max));
    }
    const bool is_new =
        std::find(new_leases_.begin(), new_leases_.end(), changed.id) != new_leases_.end();
    if (rows_.workunit(changed.workunit)->kind == WorkKind::kEvaluation && is_new &&
        !rows_.host(changed.host)->is_trusted) {
      throw Violation("trust", name_of(changed.host) + " evaluates and is not trusted");
    }
  }
}

// Renewals count from the arrival of the call, within the age of the lease.
void Account::follow_held(const scheduler::ExchangeEvent& event) {
  for (const ResultId id : event.held) {
    const auto lease = leases_.find(id);
    const scheduler::ResultRow* row = rows_.result(id);
    if (lease == leases_.end() || row == nullptr || row->host != event.host) continue;
    if (event.received >= lease->second.renewable_until) continue;
    const TimePoint deadline = event.received + lease->second.length;
    if (deadline > lease->second.deadline) set_deadline(id, deadline);
  }
}

void Account::check_deadlines(TimePoint now) const {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return;
  throw Violation("lease", name_of(deadlines_.begin()->second) + " did not end at its deadline, " +
                               std::to_string((now - deadlines_.begin()->first).count()) +
                               " ms ago");
}

void Account::check_exchange(const scheduler::ExchangeEvent& event,
                             const scheduler::ExchangeReply& reply, TimePoint now) {
  if (reply.verdicts.size() != expected_.size()) {
    throw Violation("verdict", "not every report was answered");
  }
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    const scheduler::ReportVerdict& verdict = reply.verdicts[i];
    const Expectation& expected = expected_[i];
    const bool is_right = verdict.verdict == expected.verdict ||
                          (expected.may_be_past && verdict.verdict == Verdict::kTooLate) ||
                          (expected.may_wait && verdict.verdict != Verdict::kUnknown) ||
                          (expected.may_be_late && verdict.verdict != Verdict::kUnknown);
    if (is_right && verdict.result == reported_[i]) continue;
    throw Violation("verdict", name_of(event.host) + " is told verdict " +
                                   std::to_string(static_cast<int>(verdict.verdict)) + " of " +
                                   name_of(reported_[i]) + ", expected was " +
                                   std::to_string(static_cast<int>(expected.verdict)));
  }
  for (const scheduler::Assignment& assignment : reply.assignments) {
    const scheduler::ResultRow* row = rows_.result(assignment.result);
    if (row == nullptr || row->host != event.host || row->state != ResultState::kLeased) {
      throw Violation("lease", name_of(event.host) + " is given " + name_of(assignment.result) +
                                   " without a lease");
    }
    const bool is_new =
        std::find(new_leases_.begin(), new_leases_.end(), assignment.result) != new_leases_.end();
    if (is_new) continue;
    // Sent again: it may have been lost on the way.
    const Lease& lease = leases_.at(assignment.result);
    if (now >= lease.renewable_until) {
      throw Violation("lease", name_of(assignment.result) + " is sent again beyond its age");
    }
    set_deadline(assignment.result, now + lease.length);
  }
  const HostAccount& host = hosts_[event.host];
  if (!new_leases_.empty() && host.leased.size() > host.quota) {
    throw Violation("quota", name_of(event.host) + " holds " + std::to_string(host.leased.size()) +
                                 " leases, its quota is " + std::to_string(host.quota));
  }
}

void Account::acknowledge(HostId host, const scheduler::ExchangeReply& reply) {
  for (const scheduler::ReportVerdict& verdict : reply.verdicts) {
    if (verdict.verdict == Verdict::kValid) acknowledged_[verdict.result] = host;
  }
}

}  // namespace mh::sim
