// See restore.h.
#include "scheduler/restore.h"

#include <algorithm>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "scheduler/job_steps.h"
#include "scheduler/planner.h"
#include "scheduler/quorum.h"
#include "scheduler/standing.h"
#include "scheduler/step_records.h"

namespace mh::scheduler {
namespace {

class Restorer {
 public:
  Restorer(State& state, TimePoint now) : state_(state), now_(now) {}

  void run(Snapshot snapshot) {
    state_.last_workunit = snapshot.last_workunit.value();
    state_.last_result = snapshot.last_result.value();
    state_.last_credit = snapshot.last_credit;
    for (HostRow& row : snapshot.hosts) restore_host(std::move(row));
    for (JobRow& row : snapshot.jobs) restore_job(std::move(row));
    for (ContributionRow& row : snapshot.contributions) {
      JobEntry& job = state_.job(row.job);
      state_.contribution(job, row.host).row = row;
      job.valid_gflop += row.credit + row.credit_held + row.credit_forfeited;
      if (row.credit_held > 0) state_.host(row.host).jobs_with_held_credit.insert(row.job);
      if (row.credit != row.credit_booked) job.unbooked.insert(row.host);
    }
    for (auto& [id, job] : state_.jobs) {
      job.valid_gflop -= job.row.checked_gflop;
      // The snapshot has at least those of an ended job that still hold credit back.
      job.are_contributions_stored_only =
          job.has_ended() && job.row.started != TimePoint{} &&
          std::all_of(job.contributions.begin(), job.contributions.end(),
                      [](const auto& entry) { return entry.second.row.credit_held > 0; });
    }
    for (AgreementRow& row : snapshot.agreements) {
      JobEntry& job = state_.job(row.job);
      const std::pair<std::string, std::string> classes(row.first_class, row.second_class);
      job.agreements.insert_or_assign(classes, Agreement(std::move(row)));
    }
    for (const CheckpointRow& row : snapshot.checkpoints) {
      if (!row.is_kept) continue;
      state_.blobs.add(row.parameters_digest);
      state_.job(row.job).checkpoints.emplace(row.step, row);
    }
    for (const StepRecordRow& row : snapshot.records) restore_retained(state_, row);
    for (EvaluationRow& row : snapshot.evaluations) restore_evaluation(std::move(row));
    sort_by_id(snapshot.workunits);
    for (WorkunitRow& row : snapshot.workunits) restore_workunit(row);
    sort_by_id(snapshot.results);
    for (ResultRow& row : snapshot.results) restore_result(std::move(row));
    for (const JobId id : state_.live_jobs) complete_job(state_.job(id));
  }

 private:
  template <class Row>
  static void sort_by_id(std::vector<Row>& rows) {
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.id < b.id; });
  }

  void restore_host(HostRow row) {
    state_.last_host = std::max(state_.last_host, row.id.value());
    HostEntry& host = state_.hosts[row.id];
    host.row = std::move(row);
    host.last_seen = host.row.last_seen;
    // Work in progress is measured from here: the server was not there to see it begin.
    host.last_report = now_;
    if (host.row.is_trusted && !host.row.is_detached) state_.trusted.insert(host.row.id);
    follow_reliable(state_, host);
  }

  void restore_job(JobRow row) {
    state_.last_job = std::max(state_.last_job, row.id.value());
    JobEntry& job = state_.jobs[row.id];
    job.row = std::move(row);
    state_.blobs.add(job.row.job_digest);
    state_.blobs.add(job.row.optimizer_digest);
    if (!job.row.request_id.empty()) state_.requests.emplace(job.row.request_id, job.row.id);
    if (!job.has_ended()) {
      state_.live_jobs.insert(job.row.id);
      if (job.row.step < job.row.step_count) {
        job.workunits.resize(workunits_per_step({job.row.batch, job.row.shard}));
      }
    }
  }

  void restore_evaluation(EvaluationRow row) {
    JobEntry& job = state_.job(row.job);
    if (row.state == EvaluationState::kPending && !job.has_ended()) {
      EvaluationEntry& evaluation = job.evaluations[row.step];
      evaluation.row = std::move(row);
      evaluation.workunits.resize(
          evaluation_ranges(job.row.evaluation_sample_count, job.row.evaluation_shard).size());
    } else if (row.state == EvaluationState::kDone) {
      if (!job.last_evaluation || job.last_evaluation->step < row.step) job.last_evaluation = row;
      if (!job.best_evaluation || is_better(row, *job.best_evaluation, job.row.has_classes)) {
        job.best_evaluation = std::move(row);
      }
    }
  }

  // The list that the workunit stands in; null: it is of the past.
  std::vector<WorkunitId>* list_of(JobEntry& job, const WorkunitRow& row) {
    if (job.has_ended() || row.state == WorkunitState::kDropped) return nullptr;
    if (row.kind == WorkKind::kGradient) return row.step == job.row.step ? &job.workunits : nullptr;
    const auto evaluation = job.evaluations.find(row.step);
    return evaluation == job.evaluations.end() ? nullptr : &evaluation->second.workunits;
  }

  void restore_workunit(const WorkunitRow& row) {
    state_.last_workunit = std::max(state_.last_workunit, row.id.value());
    JobEntry& job = state_.job(row.job);
    std::vector<WorkunitId>* list = list_of(job, row);
    if (!list) return;
    MH_CHECK(row.shard < list->size() && !(*list)[row.shard].is_valid());
    (*list)[row.shard] = row.id;
    WorkunitEntry& workunit = state_.workunits[row.id];
    workunit.row = row;
    workunit.gflop = static_cast<double>(workunit.sample_count()) * job.gflop_per_sample(row.kind);
    // Leases of it come with their results.
    if (row.state == WorkunitState::kWaiting || row.state == WorkunitState::kLeased ||
        row.state == WorkunitState::kComparing) {
      workunit.row.state = WorkunitState::kWaiting;
      auto& queue =
          row.kind == WorkKind::kGradient ? job.waiting_gradients : job.waiting_evaluations;
      queue.insert(row.id);
    } else {
      MH_CHECK(row.state == WorkunitState::kDone);
      ++(row.kind == WorkKind::kGradient ? job.done_count
                                         : job.evaluations.at(row.step).done_count);
    }
  }

  void restore_result(ResultRow row) {
    state_.last_result = std::max(state_.last_result, row.id.value());
    const auto found = state_.workunits.find(row.workunit);
    HostEntry& host = state_.host(row.host);
    if (found == state_.workunits.end()) {
      if (row.state == ResultState::kLeased) return;
      host.finished.push_back(std::move(row));
      while (host.finished.size() > state_.options.finished_results_kept) host.finished.pop_front();
      return;
    }
    WorkunitEntry& workunit = found->second;
    JobEntry& job = state_.job(workunit.row.job);
    const ResultId id = row.id;
    ResultEntry& result = state_.results[id];
    result.row = std::move(row);
    workunit.results.push_back(id);
    workunit.hosts_tried.insert(host.row.id);
    host.last_job = job.row.id;
    if (workunit.row.kind == WorkKind::kGradient && host.row.origin.account != 0) {
      ++job.leases_by_account[host.row.origin.account];
    }
    switch (result.row.state) {
      case ResultState::kLeased:
        MH_PROBE("a restart finds a lease");
        restore_lease(job, workunit, host, result);
        break;
      case ResultState::kValid:
        MH_CHECK(workunit.row.canonical == id);
        state_.blobs.add(result.row.update_digest);
        break;
      case ResultState::kRejected:
      case ResultState::kFailed:
        workunit.hosts_failed.insert(host.row.id);
        ++workunit.failure_count;
        break;
      case ResultState::kReported:
        MH_PROBE("a restart finds a result that waits for a check");
        restore_reported(workunit, result);
        break;
      case ResultState::kReturned:
      case ResultState::kExpired:
      case ResultState::kObsolete:
      case ResultState::kAgreed:
      case ResultState::kUndone:
        MH_PROBE("a restart finds an expired or returned result of the present step");
        break;
    }
  }

  void restore_lease(JobEntry& job, WorkunitEntry& workunit, HostEntry& host, ResultEntry& result) {
    MH_CHECK(workunit.row.state != WorkunitState::kDone);
    host.leases.insert(result.row.id);
    state_.add_copy(workunit, job, result.row.id);
    workunit.row.state = WorkunitState::kLeased;
    job.waiting_gradients.erase(workunit.row.id);
    job.waiting_evaluations.erase(workunit.row.id);
    job.leased.insert(workunit.row.id);
    const auto grace = state_.options.restart_grace;
    state_.set_deadline(result, now_ + result.row.lease_length + grace);
    result.backup_due = now_ + state_.options.backup_unknown;
    state_.set_alarm(workunit, job);
  }

  void restore_reported(WorkunitEntry& workunit, const ResultEntry& result) {
    MH_CHECK(workunit.row.state != WorkunitState::kDone);
    state_.blobs.add(result.row.update_digest);
    add_distances(state_, workunit, result.row);
    workunit.reported.push_back(result.row.id);
  }

  void complete_job(JobEntry& job) {
    const auto is_named = [](WorkunitId id) { return id.is_valid(); };
    MH_CHECK(std::all_of(job.workunits.begin(), job.workunits.end(), is_named));
    for (const WorkunitId id : job.workunits) {
      WorkunitEntry& workunit = state_.workunit(id);
      if (!workunit.reported.empty()) state_.settle_idle(workunit, now_);
    }
    for (const auto& [step, evaluation] : job.evaluations) {
      MH_CHECK(std::all_of(evaluation.workunits.begin(), evaluation.workunits.end(), is_named));
    }
    MH_CHECK(job.checkpoints.contains(job.row.step));
  }

  State& state_;
  TimePoint now_;
};

}  // namespace

void restore(State& state, Snapshot snapshot, TimePoint now) {
  Restorer(state, now).run(std::move(snapshot));
}

}  // namespace mh::scheduler
