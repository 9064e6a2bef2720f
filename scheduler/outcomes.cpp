// See outcomes.h.
#include "scheduler/outcomes.h"

#include <algorithm>

#include "scheduler/credit.h"
#include "scheduler/job_steps.h"
#include "scheduler/standing.h"

namespace mh::scheduler {
namespace {

void remember_norm(JobEntry& job, double mean_norm) {
  job.norms.push_back(mean_norm);
  if (job.norms.size() > kNormsKept) job.norms.pop_front();
}

}  // namespace

void count_valid(State& state, JobEntry& job, HostEntry& host, const WorkunitEntry& workunit,
                 const ResultEntry& result, TimePoint now) {
  ++host.row.valid_count;
  host.row.lease_quota = std::min(state.options.quota_max, host.row.lease_quota + 1);
  host.failures_in_row = 0;
  host.paused_until = {};
  state.changed(host);
  ContributionEntry& contribution = state.contribution(job, host.row.id);
  ++contribution.row.valid_count;
  contribution.row.upload_bytes += result.row.update_bytes;
  if (result.row.is_reissue) ++contribution.row.reissued_count;
  if (workunit.row.kind == WorkKind::kEvaluation) {
    ++contribution.row.evaluation_count;
  } else if (result.row.state == ResultState::kAgreed) {
    ++contribution.row.agreed_count;
  } else {
    contribution.row.sample_count += workunit.sample_count();
    job.rate.add(now, workunit.sample_count());
  }
  contribution.last_active = std::max(contribution.last_active, result.row.ended);
  state.changed(contribution);
}

std::string result_text(const ResultRow& row) {
  return "result " + to_string(row.id) + " of job " + to_string(row.job);
}

void blame_rejected(State& state, const JobEntry& job, const WorkunitEntry& workunit,
                    HostId right_host, TimePoint now) {
  if (job.row.validation.mode == ValidationMode::kNone) return;
  for (const ResultId id : workunit.results) {
    const ResultRow& row = state.result(id).row;
    if (row.state != ResultState::kRejected || row.host == right_host) continue;
    HostEntry& host = state.host(row.host);
    const std::string what =
        result_text(row) + " was refused (" + row.reason + ") and another host's was right";
    forfeit_held(state, host, what, now);
    note_bad(state, host, {row.job, id}, what, now);
  }
}

ResultRow make_canonical(State& state, JobEntry& job, WorkunitEntry& workunit, ResultEntry& result,
                         TimePoint now) {
  const bool was_reported = result.row.state == ResultState::kReported;
  result.row.credit = workunit.gflop;
  if (workunit.row.kind == WorkKind::kGradient && result.mean_norm > 0) {
    remember_norm(job, result.mean_norm);
  }
  state.set_state(result, ResultState::kValid, now);
  count_valid(state, job, state.host(result.row.host), workunit, result, now);
  const ResultRow row = result.row;
  // May end an evaluation and with it forget the workunit: nothing of it is used after this.
  workunit_done(state, job, workunit, result, now);
  if (was_reported) state.release(row.update_digest);
  return row;
}

void blame(State& state, HostEntry& host, TimePoint now) {
  host.row.lease_quota = std::max<std::uint32_t>(1, host.row.lease_quota / 2);
  ++host.failures_in_row;
  host.paused_until = now + failure_pause(state.options, host.failures_in_row);
  state.changed(host);
}

}  // namespace mh::scheduler
