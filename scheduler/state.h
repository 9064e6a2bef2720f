// The coordinator's memory: jobs, hosts, workunits, results, and the queues over them. A state is
// changed by one function here, which keeps queues, rows to store and effects in step.
// Flow: coordinator.cpp calls assigner, validator and job_steps, which read and change this.
// Private to scheduler/coordinator; pure, no threads.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/agreement.h"
#include "scheduler/blob_references.h"
#include "scheduler/coordinator.h"
#include "scheduler/lease_rules.h"
#include "scheduler/rate_meter.h"

namespace mh::scheduler {

struct ResultEntry {
  ResultRow row;
  // While leased.
  TimePoint deadline{};
  // When an assignment of it last went out.
  TimePoint last_sent{};
  // When its host should be done, queue included; none: speed unknown.
  std::optional<TimePoint> expected_end;
  // Until this age of the newest copy nobody else gets one.
  TimePoint backup_due{};
  // Once reported: norm of the mean gradient; 0: not known (a restart).
  double mean_norm = 0;
};

struct WorkunitEntry {
  WorkunitRow row;
  double gflop = 0;
  // Live copies, oldest first.
  std::vector<ResultId> leases;
  // Every result, in order of issue.
  std::vector<ResultId> results;
  // Those in kReported, in order of report.
  std::vector<ResultId> reported;
  // What is known of pairs of them, the lesser id first; no value: the shell compares.
  std::map<std::pair<ResultId, ResultId>, std::optional<Distance>> distances;
  // Hosts that ever had it; those on which it failed or was rejected, and how often altogether.
  std::set<HostId> hosts_tried;
  std::set<HostId> hosts_failed;
  std::uint32_t failure_count = 0;
  // Since when it waits; TimePoint{}: since it was made.
  TimePoint waiting_since{};
  // When its alarm for a backup rings; none: no alarm is set.
  std::optional<TimePoint> alarm;

  std::uint64_t sample_count() const { return row.end - row.begin; }
};

struct HostEntry {
  HostRow row;
  TimePoint last_seen{};
  TimePoint last_report{};
  TimePoint last_leased{};
  // In order of issue.
  std::set<ResultId> leases;
  std::uint32_t failures_in_row = 0;
  TimePoint paused_until{};
  AskBucket asks;
  std::map<Digest, std::uint32_t> holdings;
  // Jobs in which credit of it is held back.
  std::set<JobId> jobs_with_held_credit;
  // Ended results whose workunits are forgotten, newest last.
  std::deque<ResultRow> finished;
  JobId last_job;
};

struct ContributionEntry {
  ContributionRow row;
  TimePoint last_active{};
  SpeedEstimate gradient_speed;
  SpeedEstimate evaluation_speed;

  SpeedEstimate& speed(WorkKind kind) {
    return kind == WorkKind::kGradient ? gradient_speed : evaluation_speed;
  }
  const SpeedEstimate& speed(WorkKind kind) const {
    return kind == WorkKind::kGradient ? gradient_speed : evaluation_speed;
  }
};

// A pending evaluation.
struct EvaluationEntry {
  EvaluationRow row;
  // By range.
  std::vector<WorkunitId> workunits;
  std::uint64_t done_count = 0;
};

struct JobEntry {
  JobRow row;
  // The step in progress, by shard; empty when the last step is done or the job has ended.
  std::vector<WorkunitId> workunits;
  std::uint64_t done_count = 0;
  std::set<WorkunitId> waiting_gradients;
  // Gradients that wait for a host to check what another reported.
  std::set<WorkunitId> waiting_checks;
  std::set<WorkunitId> waiting_evaluations;
  std::set<WorkunitId> leased;
  // Leased workunits whose alarm has rung.
  std::set<WorkunitId> overdue;
  // Pending, by step.
  std::map<std::uint64_t, EvaluationEntry> evaluations;
  std::optional<EvaluationRow> last_evaluation;
  std::optional<EvaluationRow> best_evaluation;
  // Kept, by step.
  std::map<std::uint64_t, CheckpointRow> checkpoints;
  // Records whose blobs are kept, oldest first.
  std::deque<RetainedStep> retained;
  std::map<HostId, ContributionEntry> contributions;
  // Stride scheduling: seconds of hosts' time leased so far / (priority + 1).
  double pass = 0;
  RateMeter rate;
  // Leases of the step in progress by account, accounts that strangers share left out.
  std::map<std::uint64_t, std::uint64_t> leases_by_account;
  // Of the last valid gradients, oldest first: norm of the mean gradient (rule 22).
  std::deque<double> norms;
  // By pair of device classes, the lesser first.
  std::map<std::pair<std::string, std::string>, Agreement> agreements;
  // Hosts whose credit grew since it was last booked.
  std::set<HostId> unbooked;
  // It had ended before the start, and its contributions are in the store: here are at most those
  // with credit held back.
  bool are_contributions_stored_only = false;
  // Gives out no work while it is rewound. Not stored.
  bool is_held = false;
  // Over all its hosts: what is expected of one that was not measured yet (rule 5).
  TypicalSpeed typical_gradient;
  TypicalSpeed typical_evaluation;
  // GFLOP of validated results; of live copies of workunits that have an older live copy.
  double valid_gflop = 0;
  double extra_gflop = 0;
  std::uint64_t extra_count = 0;

  bool has_ended() const {
    return row.state != JobState::kRunning && row.state != JobState::kPaused;
  }
  bool gives_work() const { return row.state == JobState::kRunning && !is_held; }
  bool is_step_complete() const { return !workunits.empty() && done_count == workunits.size(); }
  bool fits(const HostRow& host) const {
    if (row.is_pinned) {
      return host.description.device == "cpu" && !host.description.cpu_level.empty() &&
             row.threads <= host.description.threads;
    }
    return row.threads <= host.description.threads || host.description.device.starts_with("cuda");
  }
  double gflop_per_sample(WorkKind kind) const {
    return (kind == WorkKind::kGradient ? row.training_flops : row.evaluation_flops) / 1e9;
  }
  double gflop_per_shard() const {
    return gflop_per_sample(WorkKind::kGradient) * static_cast<double>(row.shard);
  }
  TypicalSpeed& typical(WorkKind kind) {
    return kind == WorkKind::kGradient ? typical_gradient : typical_evaluation;
  }
  const SpeedEstimate& typical_speed(WorkKind kind) const {
    return (kind == WorkKind::kGradient ? typical_gradient : typical_evaluation).estimate();
  }
  bool has_waiting() const {
    return !waiting_gradients.empty() || !waiting_checks.empty() || !waiting_evaluations.empty();
  }
};

class State {
 public:
  explicit State(const CoordinatorOptions& coordinator_options) : options(coordinator_options) {}

  CoordinatorOptions options;
  std::map<JobId, JobEntry> jobs;
  // Running or paused.
  std::set<JobId> live_jobs;
  std::map<std::string, JobId, std::less<>> requests;
  std::map<HostId, HostEntry> hosts;
  std::map<WorkunitId, WorkunitEntry> workunits;
  std::map<ResultId, ResultEntry> results;
  // Leased results by deadline; leased workunits by the time they become overdue.
  std::set<std::pair<TimePoint, ResultId>> deadlines;
  std::set<std::pair<TimePoint, WorkunitId>> alarms;
  // Hosts that asked for more than they got.
  std::set<HostId> asking;
  // Trusted and not detached.
  std::set<HostId> trusted;
  // Trusted, or with a record; not detached.
  std::set<HostId> reliable;
  BlobReferences blobs;
  // Of what all jobs retain.
  std::uint64_t retained_bytes = 0;
  // Pass of the job served last: where a job that had nothing to give starts again.
  double virtual_time = 0;
  std::uint64_t last_workunit = 0;
  std::uint64_t last_result = 0;
  std::uint64_t last_job = 0;
  std::uint64_t last_host = 0;
  std::uint64_t last_credit = 0;

  JobEntry& job(JobId id);
  HostEntry& host(HostId id);
  WorkunitEntry& workunit(WorkunitId id);
  ResultEntry& result(ResultId id);
  // Makes the entry when there is none.
  ContributionEntry& contribution(JobEntry& job, HostId host);
  // Of this kind of work, else of the other kind; unknown when the host never worked for the job.
  SpeedEstimate speed(const JobEntry& job, HostId host, WorkKind kind) const;

  // ---- The only places that change states ----

  // A new workunit, waiting.
  WorkunitEntry& add_workunit(JobEntry& job, WorkunitRow row);
  void set_state(WorkunitEntry& workunit, WorkunitState state, TimePoint now);
  // A new result, leased. The workunit becomes leased.
  ResultEntry& add_result(WorkunitEntry& workunit, HostEntry& host, TimePoint now);
  // Leaves or takes up a lease; the workunit follows (waits again when its last copy is gone).
  // kReported, kAgreed and kRejected of reported results: also keeps the list of reported ones.
  void set_state(ResultEntry& result, ResultState state, TimePoint now);
  // A workunit without leases: waits for a host, or for the shell to compare what was reported.
  void settle_idle(WorkunitEntry& workunit, TimePoint now);
  void set_deadline(ResultEntry& result, TimePoint deadline);
  // A live copy more, the newest; or one less.
  void add_copy(WorkunitEntry& workunit, JobEntry& job, ResultId copy);
  void remove_copy(WorkunitEntry& workunit, JobEntry& job, ResultId copy);
  // The workunit becomes overdue when its newest copy is.
  void set_alarm(WorkunitEntry& workunit, JobEntry& job);
  // A rewind takes a done workunit back; its canonical result becomes `to`, which is kUndone or
  // kRejected.
  void undo(WorkunitEntry& workunit, ResultState to);
  // Takes a done or dropped workunit and its results out of memory; hosts remember their results.
  void forget(WorkunitId id);
  void set_state(JobEntry& job, JobState state, std::string reason, TimePoint now);
  // An ended job runs again.
  void revive(JobEntry& job);

  // ---- What to store and to do ----

  void changed(const JobEntry& job) { changed_jobs_.insert(job.row.id); }
  void changed(HostEntry& host);
  void changed(const ContributionEntry& entry);
  void changed(const WorkunitEntry& entry) { changed_workunits_[entry.row.id] = entry.row; }
  void changed(const ResultEntry& entry) { changed_results_[entry.row.id] = entry.row; }
  // Rows of the past, which no entry has.
  void store(const WorkunitRow& row) { changed_workunits_[row.id] = row; }
  void store(ResultRow row);
  void store(StepRow row) { changes_.steps.push_back(std::move(row)); }
  void store(CreditRow row) { changes_.credit.push_back(std::move(row)); }
  void changed(const AgreementRow& row);
  void store(StepRecordRow row) { changes_.records.push_back(std::move(row)); }
  void store(const EvaluationRow& row);
  void store(const CheckpointRow& row);
  // The job moved in a way that watchers want to see.
  void touch(JobEntry& job);
  // Adds to the job's log; touches the job.
  void log(JobEntry& job, TimePoint now, std::string text);
  // Adds to the host's log.
  void log(HostEntry& host, HostLogRow entry);
  // Drops a reference to a blob.
  void release(const Digest& blob);
  Effects& effects() { return effects_; }

  // Everything since the last call.
  Changes take_changes();
  Effects take_effects();
  // Earliest deadline or alarm.
  std::optional<TimePoint> wake_at() const;

 private:
  // Rule 5: another host was first; learns how long this one had had it.
  void note_loser(const ResultEntry& loser, TimePoint now);
  void clear_alarm(WorkunitEntry& workunit, JobEntry& job);

  std::set<JobId> changed_jobs_;
  std::set<HostId> changed_hosts_;
  std::set<std::pair<JobId, HostId>> changed_contributions_;
  std::map<WorkunitId, WorkunitRow> changed_workunits_;
  std::map<ResultId, ResultRow> changed_results_;
  std::map<std::pair<JobId, std::uint64_t>, EvaluationRow> changed_evaluations_;
  std::map<std::pair<JobId, std::uint64_t>, CheckpointRow> changed_checkpoints_;
  std::map<std::tuple<JobId, std::string, std::string>, AgreementRow> changed_agreements_;
  Changes changes_;
  Effects effects_;
};

// Ends leases whose deadline has come and turns rung alarms into overdue workunits.
void expire_leases(State& state, TimePoint now);

// "host 3 (attic)", for logs.
std::string host_text(const HostEntry& host);

}  // namespace mh::scheduler
