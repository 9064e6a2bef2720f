// Coordinator::sanity_check(): every invariant, recomputed from the rows. One function an area.
#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "scheduler/checkpoints.h"
#include "scheduler/coordinator.h"
#include "scheduler/coordinator_impl.h"
#include "scheduler/planner.h"

namespace mh::scheduler {
namespace {

bool is_close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max({1.0, std::abs(a), std::abs(b)});
}

void check_result(const State& state, const ResultEntry& result) {
  const WorkunitEntry& workunit = state.workunits.at(result.row.workunit);
  const HostEntry& host = state.hosts.at(result.row.host);
  const ResultId id = result.row.id;
  const bool is_leased = result.row.state == ResultState::kLeased;
  MH_CHECK(id.value() <= state.last_result);
  MH_CHECK(result.row.job == workunit.row.job);
  MH_CHECK(workunit.hosts_tried.contains(host.row.id));
  MH_CHECK(host.leases.contains(id) == is_leased);
  MH_CHECK(state.deadlines.contains({result.deadline, id}) == is_leased);
  MH_CHECK(std::count(workunit.leases.begin(), workunit.leases.end(), id) == (is_leased ? 1 : 0));
  MH_CHECK(std::count(workunit.results.begin(), workunit.results.end(), id) == 1);
  MH_CHECK((result.row.state == ResultState::kValid) == (workunit.row.canonical == id));
  const bool is_reported = result.row.state == ResultState::kReported;
  MH_CHECK(std::count(workunit.reported.begin(), workunit.reported.end(), id) ==
           (is_reported ? 1 : 0));
  if (is_reported) MH_CHECK(workunit.row.state != WorkunitState::kDone);
  const bool has_earned =
      result.row.state == ResultState::kValid || result.row.state == ResultState::kAgreed;
  const double earned = has_earned ? workunit.gflop : 0;
  MH_CHECK(result.row.credit == earned);
  if (is_leased) MH_CHECK(!host.row.is_detached);
}

void check_workunit(const State& state, const WorkunitEntry& workunit) {
  const JobEntry& job = state.jobs.at(workunit.row.job);
  const WorkunitId id = workunit.row.id;
  const WorkunitState now = workunit.row.state;
  const bool is_gradient = workunit.row.kind == WorkKind::kGradient;
  const bool has_reported = !workunit.reported.empty();
  const auto& queue = !is_gradient   ? job.waiting_evaluations
                      : has_reported ? job.waiting_checks
                                     : job.waiting_gradients;
  if (has_reported) {
    MH_CHECK(is_gradient && !job.waiting_gradients.contains(id));
  } else {
    MH_CHECK(now != WorkunitState::kComparing && !job.waiting_checks.contains(id));
  }
  const std::size_t reported = workunit.reported.size();
  MH_CHECK(2 * workunit.distances.size() == reported * (reported > 0 ? reported - 1 : 0));
  MH_CHECK(!job.has_ended() && id.value() <= state.last_workunit);
  // Dropped ones are forgotten in the same event.
  MH_CHECK(now != WorkunitState::kDropped);
  MH_CHECK(queue.contains(id) == (now == WorkunitState::kWaiting));
  MH_CHECK(job.leased.contains(id) == (now == WorkunitState::kLeased));
  MH_CHECK(workunit.leases.empty() == (now != WorkunitState::kLeased));
  MH_CHECK(workunit.row.canonical.is_valid() == (now == WorkunitState::kDone));
  MH_CHECK(workunit.alarm.has_value() ==
           (workunit.alarm && state.alarms.contains({*workunit.alarm, id})));
  MH_CHECK(!(workunit.alarm && job.overdue.contains(id)));
  for (const ResultId result : workunit.results) MH_CHECK(state.results.contains(result));
}

// Every sample of the step is in exactly one workunit, and every finished one has one result.
void check_step(const State& state, const JobEntry& job) {
  if (job.has_ended() || job.row.step == job.row.step_count) {
    MH_CHECK(job.workunits.empty() && job.waiting_gradients.empty());
    return;
  }
  const StepShape shape{job.row.batch, job.row.shard};
  MH_CHECK(job.workunits.size() == workunits_per_step(shape));
  std::uint64_t position = job.row.step * job.row.batch;
  std::uint64_t done = 0;
  for (std::uint64_t shard = 0; shard < job.workunits.size(); ++shard) {
    const WorkunitEntry& workunit = state.workunits.at(job.workunits[shard]);
    MH_CHECK(workunit.row.kind == WorkKind::kGradient && workunit.row.step == job.row.step);
    MH_CHECK(workunit.row.shard == shard && workunit.row.begin == position);
    position = workunit.row.end;
    if (workunit.row.state == WorkunitState::kDone) ++done;
  }
  MH_CHECK(position == (job.row.step + 1) * job.row.batch);
  MH_CHECK(done == job.done_count);
}

void check_evaluations(const State& state, const JobEntry& job) {
  MH_CHECK(job.evaluations.size() <= state.options.evaluations_pending_max);
  for (const auto& [step, evaluation] : job.evaluations) {
    MH_CHECK(!job.has_ended() && evaluation.row.state == EvaluationState::kPending);
    MH_CHECK(job.checkpoints.contains(step));
    std::uint64_t samples = 0;
    std::uint64_t done = 0;
    for (const WorkunitId id : evaluation.workunits) {
      const WorkunitEntry& workunit = state.workunits.at(id);
      MH_CHECK(workunit.row.kind == WorkKind::kEvaluation && workunit.row.step == step);
      MH_CHECK(workunit.row.begin == samples);
      samples = workunit.row.end;
      if (workunit.row.state == WorkunitState::kDone) ++done;
    }
    MH_CHECK(samples == job.row.evaluation_sample_count && done == evaluation.done_count);
    MH_CHECK(done < evaluation.workunits.size());
  }
}

// Counted samples and credit are those of validated work.
void check_contributions(const JobEntry& job) {
  if (job.are_contributions_stored_only) return;
  std::uint64_t samples = 0;
  for (const auto& [host, entry] : job.contributions) {
    samples += entry.row.sample_count;
    const double gradients = static_cast<double>(entry.row.sample_count) * job.row.training_flops;
    const double evaluations_max = static_cast<double>(entry.row.evaluation_count) *
                                   static_cast<double>(job.row.evaluation_shard) *
                                   job.row.evaluation_flops;
    const std::uint64_t counted_nowhere = entry.row.agreed_count + entry.row.undone_count;
    const double agreed =
        static_cast<double>(counted_nowhere * job.row.shard) * job.row.training_flops;
    const double earned = entry.row.credit + entry.row.credit_held + entry.row.credit_forfeited;
    MH_CHECK(earned <= (gradients + agreed + evaluations_max) / 1e9 * (1 + 1e-9) + 1e-12);
    MH_CHECK(earned >= (gradients + agreed) / 1e9 * (1 - 1e-9) - 1e-12);
    MH_CHECK((entry.row.evaluation_count + counted_nowhere) * job.row.shard +
                 entry.row.sample_count ==
             entry.row.valid_count * job.row.shard);
    MH_CHECK(job.unbooked.contains(host) || entry.row.credit == entry.row.credit_booked);
  }
  const std::uint64_t counted =
      job.row.step * job.row.batch + job.done_count * job.row.shard - job.row.removed_sample_count;
  if (job.has_ended() && job.row.state != JobState::kFinished) {
    // The step that was given up is in it too.
    MH_CHECK(samples >= counted && samples <= counted + job.row.batch);
  } else {
    MH_CHECK(samples == counted);
  }
}

// What rule 11 counts with is what lies in the rows.
void check_copies(const State& state, const JobEntry& job) {
  double valid = 0;
  for (const auto& [host, entry] : job.contributions) {
    valid += entry.row.credit + entry.row.credit_held + entry.row.credit_forfeited;
  }
  if (!job.are_contributions_stored_only) {
    MH_CHECK(is_close(valid, job.valid_gflop + job.row.checked_gflop));
  }
  double extra = 0;
  for (const auto& [id, workunit] : state.workunits) {
    if (workunit.row.job != job.row.id || workunit.leases.size() < 2) continue;
    extra += workunit.gflop * static_cast<double>(workunit.leases.size() - 1);
  }
  MH_CHECK(is_close(extra, job.extra_gflop));
}

void check_checkpoints(const State& state, const JobEntry& job) {
  MH_CHECK(job.checkpoints.contains(job.row.step));
  MH_CHECK(job.checkpoints.at(job.row.step).parameters_digest == job.row.parameters_digest);
  for (const auto& [step, row] : job.checkpoints) {
    MH_CHECK(is_checkpoint_needed(state.options, job, step));
  }
}

// The records that are kept are the newest ones, without gaps. Returns their bytes.
std::uint64_t check_retained(const JobEntry& job) {
  std::uint64_t sequence = job.row.retained_from;
  std::uint64_t bytes = 0;
  for (const RetainedStep& step : job.retained) {
    MH_CHECK(step.sequence == sequence++);
    bytes += step.blob_bytes;
  }
  MH_CHECK(sequence == job.row.record_count);
  MH_CHECK(job.row.record_digest.is_zero() == (job.row.record_count == 0));
  return bytes;
}

// `is_all`: the contributions of all jobs are in memory.
void check_host(const State& state, const HostEntry& host, bool is_all) {
  MH_CHECK(host.leases.size() <= state.options.quota_max);
  MH_CHECK(host.row.lease_quota >= 1 && host.row.lease_quota <= state.options.quota_max);
  MH_CHECK(state.trusted.contains(host.row.id) == (host.row.is_trusted && !host.row.is_detached));
  MH_CHECK(host.finished.size() <= state.options.finished_results_kept);
  double credit = 0;
  double held = 0;
  std::uint64_t valid = 0;
  std::uint64_t lost = 0;
  for (const auto& [id, job] : state.jobs) {
    const auto found = job.contributions.find(host.row.id);
    if (found == job.contributions.end()) continue;
    credit += found->second.row.credit;
    held += found->second.row.credit_held;
    MH_CHECK(host.jobs_with_held_credit.contains(id) == (found->second.row.credit_held > 0));
    valid += found->second.row.valid_count;
    lost += found->second.row.lost_count;
  }
  MH_CHECK(is_close(credit, host.row.credit) || (!is_all && credit < host.row.credit));
  MH_CHECK(is_close(held, host.row.credit_held));
  MH_CHECK(host.row.standing != Standing::kBanned || host.leases.empty());
  const bool is_reliable = host.row.standing != Standing::kBanned &&
                           (host.row.is_trusted || host.row.standing == Standing::kRecord);
  MH_CHECK(state.reliable.contains(host.row.id) == (is_reliable && !host.row.is_detached));
  MH_CHECK(valid == host.row.valid_count || (!is_all && valid < host.row.valid_count));
  MH_CHECK(lost == host.row.lost_count || (!is_all && lost < host.row.lost_count));
}

void check_blobs(const State& state) {
  BlobReferences expected;
  for (const auto& [id, job] : state.jobs) {
    expected.add(job.row.job_digest);
    expected.add(job.row.optimizer_digest);
    for (const auto& [step, row] : job.checkpoints) expected.add(row.parameters_digest);
    for (const RetainedStep& step : job.retained) {
      for (const Digest& blob : step.blobs) expected.add(blob);
    }
  }
  for (const auto& [id, result] : state.results) {
    if (result.row.state == ResultState::kValid || result.row.state == ResultState::kReported) {
      expected.add(result.row.update_digest);
    }
  }
  MH_CHECK(expected.counts() == state.blobs.counts());
}

}  // namespace

void Coordinator::sanity_check() const {
  const State& state = impl_->state;
  std::size_t leased = 0;
  std::size_t alarms = 0;
  for (const auto& [id, result] : state.results) {
    check_result(state, result);
    if (result.row.state == ResultState::kLeased) ++leased;
  }
  for (const auto& [id, workunit] : state.workunits) {
    check_workunit(state, workunit);
    if (workunit.alarm) ++alarms;
  }
  MH_CHECK(state.deadlines.size() == leased && state.alarms.size() == alarms);
  std::uint64_t retained_bytes = 0;
  for (const auto& [id, job] : state.jobs) {
    MH_CHECK(state.live_jobs.contains(id) == !job.has_ended());
    check_step(state, job);
    check_evaluations(state, job);
    check_contributions(job);
    check_copies(state, job);
    check_checkpoints(state, job);
    retained_bytes += check_retained(job);
  }
  MH_CHECK(retained_bytes == state.retained_bytes);
  const bool is_all = std::none_of(state.jobs.begin(), state.jobs.end(), [](const auto& entry) {
    return entry.second.are_contributions_stored_only;
  });
  for (const auto& [id, host] : state.hosts) check_host(state, host, is_all);
  check_blobs(state);
}

}  // namespace mh::scheduler
