// What the coordinator remembers, as plain rows: the store keeps them, a restart gives them back.
// Flow: Coordinator -> Changes -> store (one transaction) -> Snapshot -> Coordinator (changes.h).
// No threads.
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
#include "scheduler/validation_policy.h"

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
  // No host computes it: the shell compares results of it (checks.h).
  kComparing = 5,
};

enum class ResultState : std::uint8_t {
  // The host computes it.
  kLeased = 1,
  // Reported, taken, counted: the canonical result of its workunit.
  kValid = 2,
  // Reported, refused by screening, or differs from the canonical result.
  kRejected = 3,
  // The trainer failed.
  kFailed = 4,
  // Given back unfinished, or its host detached.
  kReturned = 5,
  // The lease ran out. A late report still counts while the workunit is not done.
  kExpired = 6,
  // Another result was first, or the job ended.
  kObsolete = 7,
  // Reported and screened; waits for a result of another host that agrees with it (rule 20).
  kReported = 8,
  // Reported, agrees with the canonical result of its workunit: credit, but it counts in no step.
  kAgreed = 9,
  // Was valid; its step, or the parameters that it evaluated, were taken back (rule 28). It keeps
  // its credit.
  kUndone = 10,
};

// What a host's results have earned it (rule 21). "By record" is the opposite of a claim: the
// server compared.
enum class Standing : std::uint8_t {
  // Too few results in a row that agreed so far: all are checked.
  kNew = 1,
  // The same, after a result that differed.
  kProbation = 2,
  // Trusted by record: checked now and then.
  kRecord = 3,
  // Differed too often: one lease at a time, all are checked, its word confirms nobody's.
  kLimited = 4,
  // Gets no work until an admin forgives it.
  kBanned = 5,
};

enum class CreditKind : std::uint8_t {
  // Earned by validated work.
  kGranted = 1,
  // Was held back and is lost: a check failed before it was granted. Adds nothing to the balance.
  kForfeited = 2,
  // Was granted and is taken back: an admin took the work out (rule 28). Lowers the balance.
  kWithdrawn = 3,
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
  // Different hosts that must have part in each step, so that its aggregation is defined.
  std::uint64_t hosts_min = 1;
  // One code path for all x86 processors with AVX2; only for hosts that have it.
  bool is_pinned = false;
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
  ValidationPolicy validation;
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
  // GFLOP of results that confirmed another, and of those that differed from the canonical one.
  double checked_gflop = 0;
  double differed_gflop = 0;
  // Step records ever written, and the digest of the newest (zero: none). The blobs of the records
  // from `retained_from` on are kept (rule 26).
  std::uint64_t record_count = 0;
  Digest record_digest;
  std::uint64_t retained_from = 0;
  // Samples that the steps that are done lack, because results were taken out of them (rule 28).
  std::uint64_t removed_sample_count = 0;

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
  // What the processor can do: "x86-64-v3" (AVX2 and FMA), "x86-64-v4" (AVX-512, too); empty: less,
  // or not known.
  std::string cpu_level;

  friend bool operator==(const HostDescription&, const HostDescription&) = default;
};

// Whose a host is: hosts of one origin do not check each other.
struct HostOrigin {
  // 0: an account that strangers share.
  std::uint64_t account = 0;
  // Network of its address ("198.51.100.0/24"); empty: one that says nothing (loopback, private).
  std::string address_block;

  friend bool operator==(const HostOrigin&, const HostOrigin&) = default;
};

struct HostRow {
  HostId id;

  HostDescription description;
  HostOrigin origin;
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
  // GFLOP of validated work, granted; and earned but held back until a check passes.
  double credit = 0;
  double credit_held = 0;
  Standing standing = Standing::kNew;
  // Why it stands so, with the evidence; empty at first.
  std::string standing_reason;
  // Valid results since the last one that differed or was rejected.
  std::uint64_t valid_in_row = 0;
  // Results that were compared with others', and those that differed.
  std::uint64_t checked_count = 0;
  std::uint64_t differed_count = 0;
  // Of the last checks, newest in bit 0: 1 where it differed. Forgiving clears it.
  std::uint32_t recent_checks = 0;
  // Entries ever written to its log.
  std::uint64_t log_count = 0;
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
  // GFLOP earned, granted or held back; 0 unless valid or agreed.
  double credit = 0;
  // Why it was rejected, failed or was returned.
  std::string reason;

  friend bool operator==(const ResultRow&, const ResultRow&) = default;
};

// One finished step. Written once, kept for ever, unless a rewind takes the step back (rule 28):
// the row of the step that takes its place replaces it, and those from JobRow::step on are of the
// past.
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

// The public record of a step (proto/base/step_record.h); written once, kept for ever.
struct StepRecordRow {
  JobId job;
  // From 0, without gaps; not the step, because a step may be taken again.
  std::uint64_t sequence = 0;

  std::uint64_t step = 0;
  // Of the record's bytes.
  Digest digest;
  // About what its blobs take on the disk while they are kept.
  std::uint64_t blob_bytes = 0;
  std::string record;

  friend bool operator==(const StepRecordRow&, const StepRecordRow&) = default;
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
  // Valid results that agreed with the canonical one and count in no step.
  std::uint64_t agreed_count = 0;
  // Results that differed from the canonical one; they are among the rejected.
  std::uint64_t differed_count = 0;
  // Valid gradients of steps that were taken back.
  std::uint64_t undone_count = 0;
  // GFLOP granted; held back until a check passes; lost because one failed; of `credit`, what the
  // ledger has.
  double credit = 0;
  double credit_held = 0;
  double credit_forfeited = 0;
  double credit_booked = 0;

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

// One entry of a host's log: each change of its standing, with the evidence. Written once.
struct HostLogRow {
  HostId host;
  // From 1, without gaps.
  std::uint64_t sequence = 0;

  TimePoint time{};
  Standing standing = Standing::kNew;
  // The job and result that brought it about; 0: an admin did.
  JobId job;
  ResultId result;
  std::string text;

  friend bool operator==(const HostLogRow&, const HostLogRow&) = default;
};

// One entry of the credit ledger: written once, never changed. The balance of a (job, host) after
// an entry is the balance before it plus `gflop`, in this order; the last one is
// ContributionRow::credit_booked.
struct CreditRow {
  // From 1, without gaps, over all jobs and hosts.
  std::uint64_t sequence = 0;

  TimePoint time{};
  JobId job;
  HostId host;
  CreditKind kind = CreditKind::kGranted;
  // What is booked (forfeited: what was lost, which moves no balance).
  double gflop = 0;
  double balance = 0;
  std::string reason;

  friend bool operator==(const CreditRow&, const CreditRow&) = default;
};

// How far results of two device classes that agreed were apart, by job.
struct AgreementRow {
  JobId job;
  // Device classes, the lesser first.
  std::string first_class;
  std::string second_class;

  // Pairs compared, and those equal to the bit.
  std::uint64_t pair_count = 0;
  std::uint64_t equal_count = 0;
  // Pairs by decade and quarter of their relative L2 distance, as text: "-28:3 -27:14" are 3 pairs
  // from 1e-7 to 1.78e-7 and 14 from there to 3.2e-7.
  std::string histogram;
  double relative_l2_most = 0;
  double one_minus_cosine_most = 0;

  friend bool operator==(const AgreementRow&, const AgreementRow&) = default;
};

}  // namespace mh::scheduler
