// Values that go into the coordinator and come out of it: events, replies, effects, views.
// Plain structs, no threads. What each call does stands in coordinator.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/step_record.h"
#include "scheduler/changes.h"

namespace mh::scheduler {

// ---- Exchange: a host reports, renews and asks (WorkService.Exchange) ----

enum class Outcome { kSuccess, kFailed, kReturned };

// What the shell found when it looked at a reported update, before the coordinator sees the report.
enum class Screening {
  // The blob is there, of the right size and layout, all numbers finite. Always for evaluations.
  kPassed,
  // It is wrong: rejected with Report::screening_reason.
  kRefused,
  // There is no such blob (an upload that was lost): taken as returned, without blame.
  kMissing,
};

struct Report {
  ResultId result;
  Outcome outcome = Outcome::kReturned;
  Screening screening = Screening::kPassed;
  std::string screening_reason;
  // Gradient: the uploaded update. Zero for evaluations.
  Digest update_digest;
  std::uint64_t update_bytes = 0;
  // L2 norm of the gradient sum, measured by the screening.
  double update_norm = 0;
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
  // The host's own claim; kept for display, decides nothing.
  std::uint64_t compute_ms = 0;
  // Why it failed or was returned.
  std::string error;
};

struct Holding {
  Digest manifest_digest;
  std::uint32_t chunk_count = 0;
};

struct ExchangeEvent {
  HostId host;
  std::vector<Report> reports;
  std::vector<ResultId> held;
  std::uint32_t wanted = 0;
  std::vector<Holding> holdings;
  // Sent at the first call after a start of the client: its leases are then sent again at once.
  std::optional<HostDescription> description;
  // When the request arrived: the host was alive then. When a parked call is asked again later, its
  // `received` stays (its list of held results is as old as that), and its reports and description
  // are taken out.
  TimePoint received{};
};

// kPending: taken; it counts when a result of another host agrees.
enum class Verdict { kValid, kRejected, kTooLate, kUnknown, kNoted, kPending };

struct ReportVerdict {
  ResultId result;
  Verdict verdict = Verdict::kUnknown;
  std::string reason;
  // GFLOP earned; some of it may be held back until a check passes.
  double credit = 0;
};

// One workunit leased to the host that asks.
struct Assignment {
  ResultId result;
  WorkunitId workunit;
  JobId job;
  std::string job_name;
  WorkKind kind = WorkKind::kGradient;
  std::uint64_t step = 0;
  Digest job_digest;
  Digest parameters_digest;
  Digest manifest_digest;
  // Gradient: positions in the sample stream; evaluation: sample indices. [begin, end)
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  // "train" or the evaluation split.
  std::string split;
  // Empty: all.
  std::vector<std::uint32_t> chunk_indices;
  // From now.
  std::chrono::milliseconds lease{0};
  double flops = 0;
  // To be computed with pinned numerics.
  bool is_pinned = false;
};

struct ExchangeReply {
  // One for each report, in order.
  std::vector<ReportVerdict> verdicts;
  std::vector<Assignment> assignments;
  // Held results that are leases no longer: stop computing them.
  std::vector<ResultId> revoked;
  // When to ask again if nothing was assigned and the call was not held.
  std::chrono::milliseconds backoff{0};
  // Why there is no work, in a sentence; empty when there is, or when none was wanted.
  std::string no_work_reason;
  // The host's own, GFLOP: granted, held back; and what its owner should know of its results (from
  // the first wrong one until it has a record again), empty otherwise.
  double credit = 0;
  double credit_held = 0;
  std::string notice;
  // A call that is held should be asked again at this time even if no effect wakes it (its host's
  // lost lease falls due, or its pause after failures ends).
  std::optional<TimePoint> retry_at;
  // The host asks too often (rule 18): it got no new work, `backoff` and `retry_at` say until when.
  bool is_slowed = false;
  // No workunit of any job waits for anybody: the shell may stop waking parked calls.
  bool is_drained = true;

  // Nothing the host needs to hear now: the call may be held.
  bool is_parkable() const { return verdicts.empty() && assignments.empty() && revoked.empty(); }
};

// ---- Jobs ----

// A checked job as the coordinator needs it. See job_facts.h for making one from a JobSpec.
struct JobSubmission {
  // 1 to 64 characters that make the call safe to repeat; empty: none.
  std::string request_id;
  std::string name;
  std::string dataset;
  Digest job_digest;
  Digest manifest_digest;
  // The first parameters (tensor pack).
  Digest parameters_digest;
  std::uint32_t priority = 50;
  std::uint64_t step_count = 0;
  std::uint64_t batch = 0;
  std::uint64_t shard = 0;
  // FLOPs of one sample, in training and in evaluation.
  double training_flops = 0;
  double evaluation_flops = 0;
  std::uint32_t threads = 1;
  // Different hosts that each step needs (rule 27); computed with pinned numerics (rule 19).
  std::uint64_t hosts_min = 1;
  bool is_pinned = false;
  bool has_classes = true;
  bool has_evaluation = false;
  std::string evaluation_split;
  std::uint64_t evaluation_sample_count = 0;
  std::uint64_t evaluation_every_steps = 0;
  std::uint64_t evaluation_shard = 0;
  std::uint64_t evaluation_chunk_samples = 0;
  ValidationPolicy validation;
};

struct Submitted {
  JobId job;
  // False: the same request id came before; nothing was changed.
  bool is_new = false;
};

enum class JobAction { kPause, kResume, kCancel, kSetPriority };

// What the aggregation of a step gave.
struct StepOutput {
  // Tensor packs, stored: parameters after the step; the optimizer's state (zero: none).
  Digest parameters_digest;
  Digest optimizer_digest;
  double gradient_norm = 0;
  double learning_rate = 0;
  // How the updates became one, for the step's record: "mean", or another rule with its numbers.
  std::string rule = "mean";
  // Bytes of both packs.
  std::uint64_t state_bytes = 0;
  // Not empty: the step cannot be completed (new parameters not finite, a blob damaged …); the job
  // fails with this reason and everything else here is ignored.
  std::string failure;
};

// ---- Effects: what the shell does after the changes are on disk ----

// An update was taken: the aggregation may stream it (shards are added in order).
struct UpdateAccepted {
  JobId job;
  std::uint64_t step = 0;
  std::uint64_t shard = 0;
  Digest update_digest;
};

// Every update of a step is there: aggregate, step the optimizer, store, call step_completed().
struct StepReady {
  JobId job;
  std::uint64_t step = 0;
  // What the step starts from.
  Digest parameters_digest;
  Digest optimizer_digest;
  // In the order of the shards.
  std::vector<Digest> update_digests;
  // Whose they are, in the same order: hosts as numbers 0, 1, 2, … in the order of their first
  // shards.
  std::vector<std::uint32_t> host_groups;
  // Samples of the step (the divisor of the mean).
  std::uint64_t sample_count = 0;
};

// Two reported updates whose bits differ: measure how far apart they are, call compared().
struct Comparison {
  JobId job;
  std::uint64_t step = 0;
  std::uint64_t sample_count = 0;
  ResultId first;
  ResultId second;
  Digest first_digest;
  Digest second_digest;
};

// The distance of two updates: the largest over the model's tensors and the whole.
struct Distance {
  double relative_l2 = 0;
  double one_minus_cosine = 0;
};

struct Effects {
  std::vector<UpdateAccepted> updates_accepted;
  // Updates that now wait for a check: they must be safe before the row that says so is.
  std::vector<Digest> updates_reported;
  std::vector<Comparison> comparisons;
  std::vector<StepReady> steps_ready;
  // Jobs whose version moved: wake their watchers.
  std::vector<JobId> jobs_changed;
  // Jobs that ended (finished, cancelled, failed): forget their aggregation.
  std::vector<JobId> jobs_ended;
  // Jobs that were rewound: what their aggregation has in hand is of the past; begin it anew.
  std::vector<JobId> jobs_rewound;
  // Work may be there for calls that are held: ask exchange() again for each, oldest first, until
  // one answers is_drained.
  bool is_work_available = false;
  // Blobs nobody needs any more. Delete each unless is_blob_referenced() says otherwise by then.
  std::vector<Digest> blobs_unreferenced;
  // Updates that were reported but not taken (rejected, too late). The digest is the host's word:
  // delete such a blob only if it came as a host's upload and is not referenced.
  std::vector<Digest> updates_unused;
};

template <class Reply>
struct Decision {
  Reply reply;
  Changes changes;
  Effects effects;
  // When tick() must be called at the latest; replaces what earlier decisions said.
  std::optional<TimePoint> wake_at;
};

struct Nothing {};

// ---- Rewind (rule 28) ----

struct RewindOrder {
  JobId job;
  // The step that is taken again; from 0.
  std::uint64_t to = 0;
  // Whose updates are taken out, of this step and of all later ones.
  std::vector<HostId> hosts;
  // Later steps are taken again from the updates that they had; else they are computed anew.
  bool reapplies = false;
  // Published with the step's record; see check_reason().
  std::string reason;
};

// Steps to take again, in order; each starts from what the one before made.
struct RewindPlan {
  // The digests of parameters and optimizer state are those of the first step, zero in later ones.
  std::vector<StepReady> steps;
  // Step records of the job when the plan was made.
  std::uint64_t record_count = 0;
  // None of the hosts has an update in these steps, because they were taken again without them.
  bool is_done_already = false;
};

struct Rewound {
  // Steps that are done now.
  std::uint64_t step = 0;
  // False: it had been done already, nothing was changed.
  bool is_new = false;
  std::uint64_t reapplied_step_count = 0;
  std::uint64_t undone_step_count = 0;
  // What was taken out, and what it had earned.
  std::uint64_t removed_update_count = 0;
  std::uint64_t removed_sample_count = 0;
  double withdrawn_gflop = 0;
};

// ---- Views: copies for replies to people ----

struct EvaluationView {
  std::uint64_t step = 0;
  std::string split;
  double loss = 0;
  double accuracy = 0;
  std::uint64_t sample_count = 0;
  TimePoint time{};
};

struct JobView {
  JobRow row;
  std::optional<EvaluationView> last_evaluation;
  std::optional<EvaluationView> best_evaluation;
  // Training samples counted per second over the last 10 s.
  double samples_per_second = 0;
  // Hosts that hold, got or reported a lease of the job in the last 30 s.
  std::uint32_t active_host_count = 0;
  // Negative: not known.
  double eta_seconds = -1;
  // Why no workunit can be given out at the moment; empty when it goes on.
  std::string waiting_reason;
  // Workunits of the step in progress: how many, and how many are done.
  std::uint64_t workunit_count = 0;
  std::uint64_t workunit_done_count = 0;
};

struct HostView {
  HostId id;
  HostRow row;
  // Exact, unlike row.last_seen.
  TimePoint last_seen{};
  std::uint32_t lease_count = 0;
  // Measured; 0: not yet.
  double gflops = 0;
};

struct Contribution {
  ContributionRow row;
  std::string host_name;
  bool is_trusted = false;
};

// How far results of two device classes that agreed were apart, and how far they may be.
struct AgreementView {
  AgreementRow row;
  // 0: bits must agree.
  double relative_l2_max = 0;
  double one_minus_cosine_max = 0;
};

// For GetJobSummary; doubled and missing samples are counted from the store (Store::coverage).
struct JobSummary {
  JobView job;
  // By host id.
  std::vector<Contribution> hosts;
  // Samples of finished steps as counted from valid results, and steps × batch.
  std::uint64_t samples_counted = 0;
  std::uint64_t samples_expected = 0;
  double training_seconds = 0;
  // GFLOP of copies that came to nothing because another result was first; their share of all
  // computed work, and the bound that backups keep (rule 11).
  double wasted_gflop = 0;
  double wasted_share = 0;
  double backup_share_max = 0;
};

// A checkpoint that can be downloaded.
struct ModelView {
  std::uint64_t step = 0;
  Digest parameters_digest;
  bool is_latest = false;
  bool is_best = false;
  std::optional<EvaluationView> evaluation;
};

// The blobs of a step record that are kept (rule 26).
struct RetainedStep {
  std::uint64_t sequence = 0;
  std::uint64_t step = 0;
  RecordKind kind = RecordKind::kStep;
  // What the step starts from.
  Digest parameters_before;
  Digest optimizer_before;
  TimePoint finished{};
  std::uint64_t blob_bytes = 0;
  // Updates in the order of the record, then parameters and optimizer state before and after.
  std::vector<Digest> blobs;
};

// What the shell must know to screen a report.
struct ResultInfo {
  JobId job;
  WorkKind kind = WorkKind::kGradient;
  std::uint64_t step = 0;
  std::uint64_t sample_count = 0;
  // False: the coordinator will not use the update (too late, or already counted); screening may be
  // left out and Screening::kPassed given.
  bool is_wanted = true;
};

}  // namespace mh::scheduler
