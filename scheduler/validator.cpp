// See validator.h.
#include "scheduler/validator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "scheduler/checks.h"
#include "scheduler/job_steps.h"
#include "scheduler/outcomes.h"
#include "scheduler/standing.h"

namespace mh::scheduler {
namespace {

// Longest text of a host that is kept.
constexpr std::size_t kReasonBytesMax = 512;

ReportVerdict verdict_of(const ResultRow& row) {
  ReportVerdict verdict;
  verdict.result = row.id;
  verdict.reason = row.reason;
  switch (row.state) {
    case ResultState::kReported:
      verdict.verdict = Verdict::kPending;
      verdict.reason = "it counts when another host's result agrees";
      break;
    case ResultState::kValid:
    case ResultState::kAgreed:
    case ResultState::kUndone:
      verdict.verdict = Verdict::kValid;
      verdict.credit = row.credit;
      break;
    case ResultState::kRejected:
      verdict.verdict = Verdict::kRejected;
      break;
    case ResultState::kFailed:
    case ResultState::kReturned:
      verdict.verdict = Verdict::kNoted;
      break;
    case ResultState::kLeased:
    case ResultState::kExpired:
    case ResultState::kObsolete:
      verdict.verdict = Verdict::kTooLate;
      verdict.reason = "workunit " + to_string(row.workunit) +
                       " was finished by another host or its job has ended";
      break;
  }
  return verdict;
}

ReportVerdict unknown(ResultId id) {
  ReportVerdict verdict;
  verdict.result = id;
  verdict.verdict = Verdict::kUnknown;
  verdict.reason = "this host has no lease of result " + to_string(id);
  return verdict;
}

// A result that was given out and is forgotten: no workunit in memory has it.
ReportVerdict past(ResultId id) {
  ReportVerdict verdict;
  verdict.result = id;
  verdict.verdict = Verdict::kTooLate;
  verdict.reason = "result " + to_string(id) + " is of a step that is past, or its job has ended";
  return verdict;
}

// Rule 13.
bool is_hopeless(const State& state, const WorkunitEntry& workunit, TimePoint now) {
  if (workunit.hosts_failed.size() >= state.options.failed_hosts_max) {
    // Strangers alone do not end a job whose results are checked.
    const JobEntry& job = state.jobs.at(workunit.row.job);
    return job.row.validation.mode == ValidationMode::kNone ||
           std::any_of(workunit.hosts_failed.begin(), workunit.hosts_failed.end(),
                       [&](HostId id) { return is_reliable(state.hosts.at(id)); });
  }
  if (workunit.failure_count < state.options.failures_max) return false;
  return std::all_of(state.hosts.begin(), state.hosts.end(), [&](const auto& entry) {
    const HostEntry& host = entry.second;
    const bool is_active = !host.row.is_detached &&
                           host.last_seen + state.options.active_window > now &&
                           (workunit.row.kind == WorkKind::kGradient || host.row.is_trusted);
    return !is_active || workunit.hosts_failed.contains(entry.first);
  });
}

// A result that was refused or that failed: `to` is kRejected or kFailed. Returns its row: the job
// may end with it, and the coordinator then forgets its results.
ResultRow take_failure(State& state, HostEntry& host, ResultEntry& result, ResultState to,
                       std::string reason, TimePoint now) {
  JobEntry& job = state.job(result.row.job);
  WorkunitEntry& workunit = state.workunit(result.row.workunit);
  const bool is_rejected = to == ResultState::kRejected;
  if (is_rejected) note_rejected(host);
  if (reason.size() > kReasonBytesMax) reason.resize(kReasonBytesMax);
  result.row.reason = reason;
  state.set_state(result, to, now);
  workunit.hosts_failed.insert(host.row.id);
  ++workunit.failure_count;
  ContributionEntry& contribution = state.contribution(job, host.row.id);
  ++(is_rejected ? host.row.rejected_count : host.row.failed_count);
  ++(is_rejected ? contribution.row.rejected_count : contribution.row.failed_count);
  state.changed(contribution);
  blame(state, host, now);
  ResultRow decided = result.row;
  const std::string shard = std::to_string(workunit.row.shard);
  state.log(job, now,
            "result " + to_string(result.row.id) + " of shard " + shard + " from " +
                host_text(host) + (is_rejected ? " is rejected: " : " failed: ") + reason);
  if (is_hopeless(state, workunit, now)) {
    MH_PROBE("a workunit fails its job");
    end_job(state, job, JobState::kFailed,
            "shard " + shard + " failed " + std::to_string(workunit.failure_count) + " times on " +
                std::to_string(workunit.hosts_failed.size()) + " hosts; last: " + reason,
            now);
  }
  return decided;
}

// How far below zero rounding may bring the loss of a sample.
constexpr double kLossRounding = 1e-4;

// The coordinator's own screening; empty: nothing is wrong.
std::string screen(const Report& report, const WorkunitEntry& workunit) {
  if (report.screening == Screening::kRefused) return report.screening_reason;
  // Both losses are sums of non-negative float32 terms, up to their rounding. Beyond that it is no
  // loss, and a huge one would spoil the job's sum.
  const auto sample_count = static_cast<double>(workunit.sample_count());
  if (!(report.loss_sum >= -kLossRounding * sample_count &&
        report.loss_sum <= std::numeric_limits<float>::max() * sample_count))
    return "loss_sum is no loss of " + std::to_string(workunit.sample_count()) + " samples";
  if (report.correct_count > workunit.sample_count()) {
    return "correct_count is " + std::to_string(report.correct_count) + ", the workunit has " +
           std::to_string(workunit.sample_count()) + " samples";
  }
  if (workunit.row.kind == WorkKind::kGradient && report.update_digest.is_zero()) {
    return "update_digest is missing";
  }
  return {};
}

// Rule 5: work that ended now, since the host was last heard of or got it.
struct Measurement {
  TimePoint since = TimePoint::max();
  double gflop = 0;
  JobId job;
  WorkKind kind = WorkKind::kGradient;
};

void measure(State& state, HostEntry& host, const Measurement& work, TimePoint now) {
  const auto duration = now - std::max(work.since, host.last_report);
  SpeedEstimate overall{host.row.seconds_per_gflop, host.row.seconds_per_gflop_deviation};
  overall.add(duration, work.gflop);
  host.row.seconds_per_gflop = overall.mean;
  host.row.seconds_per_gflop_deviation = overall.deviation;
  state.changed(host);
  JobEntry& job = state.job(work.job);
  state.contribution(job, host.row.id).speed(work.kind).add(duration, work.gflop);
  job.typical(work.kind).add(duration, work.gflop);
}

// What the report says, into the result's row.
void record(ResultEntry& result, const WorkunitEntry& workunit, const Report& report) {
  const bool is_gradient = workunit.row.kind == WorkKind::kGradient;
  result.row.update_digest = is_gradient ? report.update_digest : Digest{};
  result.row.update_bytes = is_gradient ? report.update_bytes : 0;
  result.row.loss_sum = report.loss_sum;
  result.row.correct_count = report.correct_count;
  result.row.compute_ms = report.compute_ms;
}

class Judge {
 public:
  Judge(State& state, HostEntry& host, TimePoint now) : state_(state), host_(host), now_(now) {}

  ReportVerdict judge(const Report& report) {
    const auto found = state_.results.find(report.result);
    if (found == state_.results.end()) return judge_forgotten(report);
    ResultEntry& result = found->second;
    if (result.row.host != host_.row.id) {
      MH_PROBE("a host reports a result of another");
      return unknown(report.result);
    }
    if (result.row.state != ResultState::kLeased && result.row.state != ResultState::kExpired) {
      MH_PROBE("a report is repeated, or its lease has ended for good");
      return repeated(result.row, report);
    }
    WorkunitEntry& workunit = state_.workunit(result.row.workunit);
    if (workunit.row.state == WorkunitState::kDone) {
      MH_PROBE("an expired result comes after its workunit was done");
      return repeated(result.row, report);
    }
    if (result.row.state == ResultState::kExpired) MH_PROBE("an expired result still decides");
    return judge_open(report, result, workunit);
  }

  void measure_all() {
    for (const auto& [key, work] : measurements_) measure(state_, host_, work, now_);
  }

 private:
  ReportVerdict judge_forgotten(const Report& report) {
    const auto known = std::find_if(host_.finished.begin(), host_.finished.end(),
                                    [&](const ResultRow& row) { return row.id == report.result; });
    if (known == host_.finished.end()) {
      MH_PROBE("a report of a result that is forgotten or never was");
      state_.effects().updates_unused.push_back(report.update_digest);
      return report.result.value() <= state_.last_result ? past(report.result)
                                                         : unknown(report.result);
    }
    MH_PROBE("a report of a step that is over");
    return repeated(*known, report);
  }

  ReportVerdict repeated(const ResultRow& row, const Report& report) {
    if (row.state != ResultState::kValid && row.state != ResultState::kReported) {
      state_.effects().updates_unused.push_back(report.update_digest);
    }
    return verdict_of(row);
  }

  // The workunit is not done: the report decides something.
  ReportVerdict judge_open(const Report& report, ResultEntry& result, WorkunitEntry& workunit) {
    if (report.outcome == Outcome::kSuccess && report.screening != Screening::kMissing) {
      const std::string wrong = screen(report, workunit);
      if (wrong.empty()) return take_success(report, result, workunit);
      state_.effects().updates_unused.push_back(report.update_digest);
      return verdict_of(take_failure(state_, host_, result, ResultState::kRejected, wrong, now_));
    }
    if (report.outcome == Outcome::kFailed) {
      return verdict_of(
          take_failure(state_, host_, result, ResultState::kFailed, report.error, now_));
    }
    if (report.screening == Screening::kMissing) MH_PROBE("an update is not at the server");
    result.row.reason =
        report.outcome == Outcome::kSuccess ? "the update is not at the server" : report.error;
    if (result.row.reason.size() > kReasonBytesMax) result.row.reason.resize(kReasonBytesMax);
    state_.set_state(result, ResultState::kReturned, now_);
    return verdict_of(result.row);
  }

  ReportVerdict take_success(const Report& report, ResultEntry& result, WorkunitEntry& workunit) {
    Measurement& work = measurements_[{result.row.job, workunit.row.kind}];
    work.since = std::min(work.since, result.row.leased);
    work.gflop += workunit.gflop;
    work.job = result.row.job;
    work.kind = workunit.row.kind;
    record(result, workunit, report);
    host_.asks.pay(state_.options.asks);
    return verdict_of(scheduler::take_success(state_, host_, result, report.update_norm, now_));
  }

  State& state_;
  HostEntry& host_;
  TimePoint now_;
  std::map<std::pair<JobId, WorkKind>, Measurement> measurements_;
};

}  // namespace

std::vector<ReportVerdict> judge_reports(State& state, HostEntry& host,
                                         const std::vector<Report>& reports, TimePoint now) {
  std::vector<ReportVerdict> verdicts;
  if (reports.empty()) return verdicts;
  Judge judge(state, host, now);
  verdicts.reserve(reports.size());
  for (const Report& report : reports) verdicts.push_back(judge.judge(report));
  judge.measure_all();
  host.last_report = now;
  return verdicts;
}

}  // namespace mh::scheduler
