// What the coordinator remembers, as plain rows: the store keeps them, a restart gives them back.
// Flow: Coordinator -> Changes -> store (one transaction) -> Snapshot -> Coordinator. No threads.
//
// A row in Changes replaces the row with the same key (first fields, up to the blank line).
// Enumerators are persistent numbers: never change or reuse them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/sha256.h"

namespace mh::scheduler {

enum class JobState : std::uint8_t {
  kRunning = 1,
  kPaused = 2,
  kFinished = 3,
  kCancelled = 4,
  // Cannot go on by itself; JobRow::state_reason says why.
  kFailed = 5,
};

enum class WorkKind : std::uint8_t { kGradient = 1, kEvaluation = 2 };

enum class WorkunitState : std::uint8_t {
  // No host computes it.
  kWaiting = 1,
  // At least one result of it is leased.
  kLeased = 2,
  // Its canonical result is valid.
  kDone = 3,
  // Its job ended, or its evaluation was skipped, before it was done.
  kDropped = 4,
};

enum class ResultState : std::uint8_t {
  // The host computes it.
  kLeased = 1,
  // Reported, taken, counted: the canonical result of its workunit.
  kValid = 2,
  // Reported, refused by screening.
  kRejected = 3,
  // The trainer failed.
  kFailed = 4,
  // Given back unfinished, or its host detached.
  kReturned = 5,
  // The lease ran out. A late report still counts while the workunit is not done.
  kExpired = 6,
  // Another result was first, or the job ended.
  kObsolete = 7,
};

enum class EvaluationState : std::uint8_t {
  kPending = 1,
  kDone = 2,
  // Too many were pending, or the job ended.
  kSkipped = 3,
};

// Times are TimePoint{} (1970) when they have not happened; digests are zero when there is none.

struct JobRow {
  JobId id;

  // Constant after submission.
  std::string name;
  std::string dataset;
  // As the caller gave it; empty: none.
  std::string request_id;
  // Canonical job specification (JSON) and data set manifest (JSON).
  Digest job_digest;
  Digest manifest_digest;
  std::uint64_t step_count = 0;
  // Samples per step and per workunit.
  std::uint64_t batch = 0;
  std::uint64_t shard = 0;
  // FLOPs of one sample: training (forward and backward) and evaluation (forward).
  double training_flops = 0;
  double evaluation_flops = 0;
  // CPU threads that a workunit is computed with; they decide bits.
  std::uint32_t threads = 1;
  // False: the loss has no classes, accuracy is not defined.
  bool has_classes = true;
  // False: no evaluations at all; the other evaluation fields are then empty.
  bool has_evaluation = false;
  std::string evaluation_split;
  std::uint64_t evaluation_sample_count = 0;
  // 0: only after the last step.
  std::uint64_t evaluation_every_steps = 0;
  // Samples per evaluation workunit.
  std::uint64_t evaluation_shard = 0;
  // Samples in every chunk but the last of the evaluation split; 0: not known.
  std::uint64_t evaluation_chunk_samples = 0;
  TimePoint created{};

  // Changes.
  JobState state = JobState::kRunning;
  std::string state_reason;
  std::uint32_t priority = 50;
  // Steps done; also the number of the step in progress.
  std::uint64_t step = 0;
  // Of the parameters after `step` steps, and of the optimizer's state beside them (zero: none).
  Digest parameters_digest;
  Digest optimizer_digest;
  // Means over the samples of the last finished step; accuracy is -1 without classes.
  double training_loss = 0;
  double training_accuracy = 0;
  // First lease; last finished step; end of the job.
  TimePoint started{};
  TimePoint last_step{};
  TimePoint finished{};
  // Grows with every change that a watcher would want to see.
  std::uint64_t version = 0;
  // Entries ever written to the job's log.
  std::uint64_t log_count = 0;
  // GFLOP of copies that were leased when another result of their workunit was first.
  double wasted_gflop = 0;

  friend bool operator==(const JobRow&, const JobRow&) = default;
};

// What a host says about itself: claims, for display only.
struct HostDescription {
  std::string name;
  std::string platform;
  std::string client_version;
  std::string device;
  std::string device_model;
  std::uint32_t threads = 1;

  friend bool operator==(const HostDescription&, const HostDescription&) = default;
};

struct HostRow {
  HostId id;

  HostDescription description;
  bool is_trusted = false;
  bool is_detached = false;
  TimePoint attached{};
  // Last call, as of the last change of this row (at most a minute behind while nothing changes).
  TimePoint last_seen{};
  std::uint64_t valid_count = 0;
  std::uint64_t rejected_count = 0;
  std::uint64_t failed_count = 0;
  // Leases that ran out.
  std::uint64_t lost_count = 0;
  // GFLOP of validated work.
  double credit = 0;
  // Seconds per GFLOP, measured by the server from one report to the next: smoothed mean and mean
  // deviation; 0: nothing measured yet.
  double seconds_per_gflop = 0;
  double seconds_per_gflop_deviation = 0;
  // Most leases it may hold: halves on trouble, climbs by one with every valid result.
  std::uint32_t lease_quota = 0;

  friend bool operator==(const HostRow&, const HostRow&) = default;
};

struct WorkunitRow {
  WorkunitId id;

  JobId job;
  WorkKind kind = WorkKind::kGradient;
  // The step whose parameters it is computed at (evaluation: steps done before it).
  std::uint64_t step = 0;
  // Number within its step or evaluation, from 0.
  std::uint64_t shard = 0;
  // Gradient: positions of the sample stream. Evaluation: sample indices of the split. [begin, end)
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  WorkunitState state = WorkunitState::kWaiting;
  // The result that counts; 0 unless state is kDone.
  ResultId canonical;

  friend bool operator==(const WorkunitRow&, const WorkunitRow&) = default;
};

struct ResultRow {
  ResultId id;

  WorkunitId workunit;
  JobId job;
  HostId host;
  ResultState state = ResultState::kLeased;
  // Leased while or after another host had the workunit.
  bool is_reissue = false;
  TimePoint leased{};
  // Length of one lease; the deadline moves with each renewal and is not stored.
  std::chrono::milliseconds lease_length{0};
  // When it left kLeased for the first time.
  TimePoint ended{};
  // As reported; the digest is zero for evaluations.
  Digest update_digest;
  std::uint64_t update_bytes = 0;
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
  std::uint64_t compute_ms = 0;
  // GFLOP granted; 0 unless valid.
  double credit = 0;
  // Why it was rejected, failed or was returned.
  std::string reason;

  friend bool operator==(const ResultRow&, const ResultRow&) = default;
};

// One finished step; written once, kept for ever.
struct StepRow {
  JobId job;
  std::uint64_t step = 0;

  // Means over the step's samples; accuracy is -1 without classes.
  double loss = 0;
  double accuracy = 0;
  std::uint64_t sample_count = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  TimePoint finished{};
  // Of the parameters that this step made.
  Digest parameters_digest;

  friend bool operator==(const StepRow&, const StepRow&) = default;
};

// One evaluation of the parameters after `step` steps.
struct EvaluationRow {
  JobId job;
  std::uint64_t step = 0;

  EvaluationState state = EvaluationState::kPending;
  std::string split;
  std::uint64_t sample_count = 0;
  // Valid once done: means over the split; accuracy is -1 without classes.
  double loss = 0;
  double accuracy = 0;
  TimePoint finished{};

  friend bool operator==(const EvaluationRow&, const EvaluationRow&) = default;
};

// Parameters after `step` steps (0: the first ones) whose blob is kept. When `is_kept` turns false
// the row may be deleted.
struct CheckpointRow {
  JobId job;
  std::uint64_t step = 0;

  Digest parameters_digest;
  bool is_kept = true;

  friend bool operator==(const CheckpointRow&, const CheckpointRow&) = default;
};

// What one host did for one job.
struct ContributionRow {
  JobId job;
  HostId host;

  std::uint64_t valid_count = 0;
  std::uint64_t rejected_count = 0;
  std::uint64_t failed_count = 0;
  // Leases that ran out.
  std::uint64_t lost_count = 0;
  // Valid results of workunits that another host had before.
  std::uint64_t reissued_count = 0;
  // Valid evaluation results.
  std::uint64_t evaluation_count = 0;
  // Training samples counted.
  std::uint64_t sample_count = 0;
  std::uint64_t upload_bytes = 0;
  std::uint64_t download_bytes = 0;
  // GFLOP.
  double credit = 0;

  friend bool operator==(const ContributionRow&, const ContributionRow&) = default;
};

// One entry of a job's log; written once.
struct JobLogRow {
  JobId job;
  // From 1, without gaps.
  std::uint64_t sequence = 0;

  TimePoint time{};
  std::uint64_t step = 0;
  std::string text;

  friend bool operator==(const JobLogRow&, const JobLogRow&) = default;
};

// Rows to insert or replace, all in one transaction. A row appears at most once. Referenced rows
// come first when written in the order of the fields.
struct Changes {
  std::vector<JobRow> jobs;
  std::vector<HostRow> hosts;
  std::vector<WorkunitRow> workunits;
  std::vector<ResultRow> results;
  std::vector<StepRow> steps;
  std::vector<EvaluationRow> evaluations;
  std::vector<CheckpointRow> checkpoints;
  std::vector<ContributionRow> contributions;
  std::vector<JobLogRow> log;

  bool is_empty() const {
    return jobs.empty() && hosts.empty() && workunits.empty() && results.empty() && steps.empty() &&
           evaluations.empty() && checkpoints.empty() && contributions.empty() && log.empty();
  }
};

// What the store gives back at the start.
struct Snapshot {
  // All.
  std::vector<JobRow> jobs;
  std::vector<HostRow> hosts;
  std::vector<EvaluationRow> evaluations;
  std::vector<ContributionRow> contributions;  // Those of ended jobs may be left out.
  // Those with is_kept.
  std::vector<CheckpointRow> checkpoints;
  // Of jobs that are running or paused: gradient workunits with step == JobRow::step, and
  // evaluation workunits of pending evaluations. Others may be there too and are ignored.
  std::vector<WorkunitRow> workunits;
  // Every result of those workunits. Beside them, as far as convenient, the newest few thousand
  // that are not leased: a report that is repeated across a restart is then answered as before.
  std::vector<ResultRow> results;
  // Largest id ever used (0: none).
  WorkunitId last_workunit;
  ResultId last_result;
};

}  // namespace mh::scheduler
