// The coordinator decides everything that the server decides about work: which host computes which
// workunit, until when, which results count, when a step is complete, when a job ends.
//
// It is pure: an event and `now` go in; a reply, changed rows and effects come out. It does no I/O,
// holds no clock and no lock. The shell (server/) calls it on one strand, commits the changes, and
// only then answers and carries out the effects. The simulator drives the same object.
// Threads: one at a time.
//
// States (docs/scheduling.md has the figures)
//   job       running <-> paused; both -> finished | cancelled | failed
//   workunit  waiting <-> leased -> done; waiting | leased -> dropped
//   result    leased -> valid | rejected | failed | returned | expired | obsolete;
//             expired -> leased | valid | rejected | failed | returned
//
// Rules
//  1. A workunit has at most one canonical result: the first valid one. Later reports of the same
//     workunit are answered "too late" and count nowhere.
//     Rationale: each sample of a step is counted exactly once, whatever is re-issued or repeated.
//  2. A report is known by its result id. Repeating it gives the same verdict and changes nothing;
//     a result of another host is "unknown".
//     Rationale: a reply may be lost after its commit; nobody may report in another's name.
//  3. A lease ends at its deadline unless the host renews it by naming it in `held`. Its length is
//     lease_length_factor × what the host's own measured speed predicts, within lease_min and
//     lease_max; a host without a measurement gets lease_unknown, or what is typical of the job's
//     hosts if that is longer. Renewals end at an age of
//     lease_age_factor leases.
//     Rationale: a dead host frees its work soon, a slow but living one keeps it, and a client
//     that lives while its trainer hangs does not keep it for ever.
//  4. When a lease ends, the workunit waits again and the host's quota halves. The result stays
//     acceptable while the workunit is open, however late: it is refused ("too late") once another
//     result was first, for then its step may be past. A host that names it in `held` meanwhile
//     gets the lease back, within the age of rule 3 and where rules 9 and 11 allow another copy.
//     Rationale: late work is still work (Folding@home's two deadlines). A step cannot end without
//     the workunit, so a limit in time would only throw work away.
//  5. Speed is measured by the server: from the lease or the host's previous report, whichever is
//     later, to the report; a smoothed mean and mean deviation. Who has it still when a copy was
//     first is known to need at least as long. No decision uses a host's clock or
//     its claims (what its device and threads are decides only what it is offered).
//  6. Lost replies: a lease that the host does not name in `held` nor report, sent before the
//     request arrived and at least resend_after ago, is sent again within the age of rule 3,
//     wanted or not; at once if the request carries a description (a client that just started).
//     Rationale: a lost reply must not cost a lease length; who names nothing must not keep leases
//     for ever. One granted on the other connection meanwhile may come twice: same result id.
//  7. Jobs share hosts by stride scheduling: each lease advances the job by the time that the host
//     is expected to need, over (priority + 1), and the job furthest behind is served next; a job
//     that had nothing to give starts level with the others; among equals the oldest is first. A
//     job whose data set the host lacks counts as holding_penalty leases ahead, for that host.
//     Rationale: shares follow priorities and no job starves; data is moved when it must be.
//  8. Within a job, evaluations go before gradients, only to trusted hosts, and the lowest waiting
//     workunit goes first.
//     Rationale: anyone can claim any accuracy; and an early evaluation frees a checkpoint.
//  9. A host gets no second copy of a workunit it had before, until nobody else took it for
//     own_copy_wait.
//     Rationale: what failed here will fail here again; but a lone host must not wait for ever.
// 10. Prefetch: a host without a lease always gets waiting work. A host that computes already gets
//     more only if the other hosts at work or asking could not finish all that waits before it;
//     so does, even without a lease, a host known to need four times what is typical, until eight
//     times what it needs have passed since it last got work. Rationale: the last workunits of a
//     step decide its duration; none may lie behind an evaluation in one host's queue while another
//     is about to be free, nor with a host that needs an hour while the others would do it in a
//     minute. A slow host beside few others works on.
// 11. Backups: when nothing waits, a host without leases gets a copy of a leased workunit that is
//     overdue (older than max(backup_min, backup_factor × (mean + 2 deviations) of its holder) and
//     that it should finish before the holder's lease runs out, or one that it would finish in half
//     of the time that the holder still needs; at most copies_max copies live at once. A host known
//     to be slow leaves copies to hosts that ask and need less than a quarter of its time. Copies
//     that come to nothing, and those that still may, are at most backup_share_max of the job's
//     validated work, and on top backup_copies_free copies, or two for each host that worked for
//     the job: each has to be measured.
//     Rationale: a step should not wait for a lease to run out while hosts are idle; but where most
//     hosts are late, copies of everything would halve what all of them do. Beyond the bound
//     the lease's own end gives the workunit to others.
// 12. A host's quota of leases starts at quota_start, grows by one with each valid result up to
//     quota_max, halves with each rejected, failed or lost one, and never falls below one. After
//     failures in a row it pauses for failure_pause × 2^n, at most failure_pause_max.
//     Rationale: a broken host must not eat the queue.
// 13. A workunit that failed or was rejected on failed_hosts_max different hosts fails its job; so
//     does one that did so failures_max times and on every active host.
//     Rationale: a job that cannot be computed (a loss that is not finite) must say so, and one
//     bad host among others cannot bring it about.
// 14. A step is complete when all its workunits are done. Its loss is summed in the order of
//     shards. The next step's workunits are made by step_completed(). Parameters that are not
//     finite fail the job.
// 15. Evaluations run beside training, on a checkpoint kept for them. At most
//     evaluations_pending_max wait; beyond that the oldest that no host has begun (else the
//     oldest) is skipped, never the last one. A job ends when its last step and its last
//     evaluation are done.
//     Rationale: without a trusted host training goes on and storage stays bounded.
// 16. Kept checkpoints: the newest checkpoints_kept, the best, every checkpoint_every-th, those
//     with a pending evaluation. Blobs are counted by reference, over all jobs.
//     Rationale: two jobs with the same seed share blobs by digest.
// 17. Restart: what is in the snapshot is what was. Leases live on with a fresh deadline of one
//     lease length plus restart_grace. Not kept over a restart: deadlines, shares of rule 7, rates
//     of the last seconds, pauses of rule 12, buckets of rule 18.
// 18. A host asks as often as its bucket allows: `asks.burst` calls in a row, `asks.per_second` for
//     ever, and each valid result pays for asks.per_valid_result more. Beyond that a call gets no
//     new work, and is told when it may; reports, renewals and lost leases are answered as ever.
//     Rationale: a client in a loop costs the others; nobody is banned for it, and a host that
//     works never notices.
// 19. A job goes to hosts that have the CPU threads that it computes with (a CUDA host needs none).
//     A job with pinned numerics goes to CPU hosts with AVX2 and FMA only.
//     Rationale: the trainer would refuse it, and every such host would count as failing.
//
// Checks (of jobs whose validation is not off; docs/validation.md has the arithmetic)
// 20. A gradient of a host that no admin trusts is checked by another host's, until `quorum` of
//     them agree, if the host has fewer than record_after valid results in a row, and else with
//     probability max(1 / that number, check_share_min), drawn from a secret and the update's
//     digest. A host never checks itself, nor one of its account or network; a limited or banned
//     one checks nobody; where reliable_hosts_min hosts with a record (or an admin's trust) are
//     active, one of them must be among those that agree. The word of a trusted host is enough, and
//     what a host with a record reported is kept for one for trusted_wait. The first of those that
//     agree is canonical.
//     Rationale: newcomers cannot confirm each other where anybody else can, nor can hosts that
//     were honest until they had a record; the draw comes after the host has committed to the
//     bits; what is checked enters no step before it is confirmed.
// 21. Results agree if their bits do and, across device classes, if their distance is within what
//     pairs of reliable hosts of these classes have shown (agreement.h).
// 22. A gradient whose norm is beyond norm_factor times the median of the job's last ones, or below
//     its inverse, is checked whoever sent it. Rationale: it is no proof of anything; but what is
//     scaled up hurts most, and what is near zero may be no work.
// 23. A result that differs from the canonical one, or that a screen refused while another host's
//     was right, is evidence: the host is on probation, its record begins anew; with limited_after
//     of its last checks_remembered checks wrong it is limited to one lease, with banned_after it
//     gets none until an admin forgives it. Every change is logged with its evidence.
//     Rationale: one bad bit is an accident and costs a record, not a host.
// 24. Credit of a result that was checked is granted, for each that agreed; of one that was not it
//     is held back until the next check that the host passes, in whatever job, and lost if that
//     check fails. Where hosts that an admin trusts compute for the job, only a check with one of
//     them counts for that. A ledger has what was granted, once a step.
//     Rationale: who cheats now and then loses more than the cheating earned, and accomplices
//     cannot grant each other anything.
// 25. One account gets at most account_share_max of a step's workunits, unless nobody else took
//     what waits for account_wait; accounts that strangers share, and trusted hosts, are exempt.
// 26. Each step leaves a record (step_records.h) in the transaction of its row. Updates, parameters
//     and optimizer state of a job's newest steps_retained records are kept, of ended jobs, too; of
//     all jobs together at most retained_bytes_max: the oldest record goes first.
//     Rationale: anybody can take the step again and compare; a bad update can be taken out.
// 27. Of a job whose aggregation needs hosts_min different hosts, a host that has part in the step
//     already (a valid result, a lease, or one that ran out and may still come) gets another
//     workunit, or a copy, only while hosts_min hosts are still sure to have part afterwards,
//     whoever of the holders is first: the rest is kept for others (spread.h).
//     Rationale: a robust rule is not defined for too few voices; a step that is complete and
//     cannot be aggregated would fail its job.
// 28. Rewind: a step whose updates are kept is taken again without those of some hosts. Later steps
//     are computed anew, or, if an admin wants so, taken again from the updates that they had,
//     again without those hosts'. What is taken out is rejected, its credit is taken back, and its
//     hosts are banned; others keep the credit of what is thrown away. A job that has finished or
//     failed runs again. The record of the step says that it was done, and why.
//     Rationale: a bad update may be found later; the model must not keep it, nor its host the
//     credit, and nobody else shall pay for it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "scheduler/ask_bucket.h"
#include "scheduler/events.h"
#include "scheduler/rows.h"

namespace mh::scheduler {

// Every number that the rules name. The defaults suit both a demo and a day.
struct CoordinatorOptions {
  std::chrono::milliseconds lease_min{5'000};
  std::chrono::milliseconds lease_max{3'600'000};
  // Lease of a host whose speed is not known yet.
  std::chrono::milliseconds lease_unknown{30'000};
  double lease_length_factor = 8;
  // Renewals end when a lease is this many lengths old (and lease_age_min has passed).
  double lease_age_factor = 8;
  std::chrono::milliseconds lease_age_min{600'000};
  // Added to every lease after a restart.
  std::chrono::milliseconds restart_grace{5'000};
  // Age at which a lease that the host does not name counts as lost on the way.
  std::chrono::milliseconds resend_after{1'000};
  std::chrono::milliseconds backup_min{250};
  double backup_factor = 2;
  // Age at which a lease of a host with unknown speed may be backed up; twice what is typical if
  // that is longer.
  std::chrono::milliseconds backup_unknown{2'000};
  std::uint32_t copies_max = 4;
  // Bound on work wasted by copies, as a share of validated work; and copies of any job beyond it,
  // of a job with more than half as many hosts two for each (0: none).
  double backup_share_max = 0.25;
  std::uint32_t backup_copies_free = 8;
  AskLimits asks;
  std::uint32_t quota_start = 4;
  std::uint32_t quota_max = 16;
  std::chrono::milliseconds failure_pause{500};
  std::chrono::milliseconds failure_pause_max{300'000};
  std::uint32_t failed_hosts_max = 5;
  std::uint32_t failures_max = 8;
  std::uint32_t evaluations_pending_max = 8;
  std::uint32_t checkpoints_kept = 3;
  // Every Nth checkpoint is kept for ever; 0: none.
  std::uint64_t checkpoint_every = 0;
  // Rule 26; 0: nothing is kept.
  std::uint32_t steps_retained = 0;
  std::uint64_t retained_bytes_max = 4'000'000'000;
  // Hosts' pseudonyms in step records follow from it.
  Digest pseudonym_secret;
  // A host counts as active this long after its last call.
  std::chrono::milliseconds active_window{30'000};
  double holding_penalty = 4;
  std::chrono::milliseconds own_copy_wait{1'000};
  // Finished results remembered for each host, for repeated reports.
  std::uint32_t finished_results_kept = 64;
  // Valid results in a row that make a record.
  std::uint64_t record_after = 10;
  // Of so many last checks (at most 32), so many wrong ones limit or ban a host.
  std::uint32_t checks_remembered = 20;
  std::uint32_t limited_after = 3;
  std::uint32_t banned_after = 6;
  // Active reliable hosts with which two others cannot confirm each other.
  std::size_t reliable_hosts_min = 1;
  // What a host with a record did is kept for a trusted host to check for so long, or twice what is
  // typical of such work.
  std::chrono::milliseconds trusted_wait{1'000};
  // Reported results of a workunit of which no two agree, before it is computed anew.
  std::size_t reported_max = 8;
  // A gradient's norm stands out beyond so many times the median of the last, or below its inverse.
  double norm_factor = 8;
  // Most of a step for one account while others might take the rest within account_wait.
  double account_share_max = 0.5;
  std::chrono::milliseconds account_wait{10'000};
  // Decides which results are checked; secret, so that no host can know.
  std::uint64_t check_key = 0;
};

class Coordinator {
 public:
  // Starts from what the store holds. Snapshot{} is an empty server. Requires: a snapshot made of
  // changes of an earlier coordinator (else MH_CHECK fails).
  Coordinator(const CoordinatorOptions& options, Snapshot snapshot, TimePoint now);
  ~Coordinator();
  Coordinator(Coordinator&&) noexcept;
  Coordinator& operator=(Coordinator&&) noexcept;

  // What to do first after a start: UpdateAccepted for every update of the steps in progress,
  // StepReady for those that are complete. Changes nothing.
  Decision<Nothing> initial_effects(TimePoint now);

  // ---- Hosts ----

  // A new host, or (host given) the same one again: its description and the network that it comes
  // from are replaced, its account and leases are untouched. Errors: kNotFound (host given but
  // unknown), kFailedPrecondition (detached).
  Decision<Result<HostId>> attach(std::optional<HostId> host, const HostDescription& description,
                                  const HostOrigin& origin, TimePoint now);

  // Takes the host out; its leases are returned. Repeating changes nothing. Errors: kNotFound.
  Decision<Result<void>> detach(HostId host, TimePoint now);

  // WorkService.Exchange; see the rules. Reports first, then renewals, then work.
  // Errors: kNotFound (unknown host), kUnauthenticated (detached).
  Decision<Result<ExchangeReply>> exchange(const ExchangeEvent& event, TimePoint now);

  // Errors: kNotFound.
  Decision<Result<void>> set_trust(HostId host, bool is_trusted, TimePoint now);

  // Clears what counts against a host (rule 23): it is new again, and gets work. Errors: kNotFound.
  Decision<Result<void>> forgive(HostId host, TimePoint now);

  // What the shell measured for an effect `comparisons`; no distance: one of the updates could not
  // be read. Results that no longer wait are ignored.
  Decision<Nothing> compared(ResultId first, ResultId second,
                             const std::optional<Distance>& distance, TimePoint now);

  // Counts bytes that a host downloaded, for the job that the blob belongs to (else the job it last
  // had a lease of). Kept with the next change of that host's contribution.
  void count_download(HostId host, const Digest& blob, std::uint64_t bytes);

  // ---- Jobs ----

  // Makes a job, its first step's workunits, and its first checkpoint. With a request id that was
  // used before, gives that job again. Errors: kInvalidArgument (sizes that make no job).
  Decision<Result<Submitted>> submit_job(const JobSubmission& submission, TimePoint now);

  // The job made by a request id, so that the shell can answer before it prepares anything.
  std::optional<JobId> job_of_request(std::string_view request_id) const;

  // Repeating changes nothing. Errors: kNotFound, kFailedPrecondition (the job has ended),
  // kInvalidArgument (priority above 100).
  Decision<Result<void>> update_job(JobId job, JobAction action, std::uint32_t priority,
                                    TimePoint now);

  // The aggregation of a step is done (or failed), its blobs are stored. A step that is not the
  // job's present one, or a job that has ended, is ignored and the blobs are unreferenced.
  Decision<Nothing> step_completed(JobId job, std::uint64_t step, const StepOutput& output,
                                   TimePoint now);

  // Rule 28 in three parts. While a job is held it gives out no work, so that its steps come to
  // rest; not kept over a restart.
  Decision<Nothing> hold(JobId job, bool is_held);
  // What the shell has to compute, its blobs included. Errors: kNotFound (job, host),
  // kInvalidArgument (no such step yet, no hosts), kFailedPrecondition (cancelled; a step is not
  // kept any more, would have too few updates, or has none of these hosts).
  Result<RewindPlan> plan_rewind(const RewindOrder& order, const RewindPast& past) const;
  // `outputs`: of the plan's steps, stored. Errors: those of plan_rewind(), kAborted (the job has
  // moved on since the plan was made).
  Decision<Result<Rewound>> rewind(const RewindOrder& order, const RewindPast& past,
                                   const RewindPlan& plan, const std::vector<StepOutput>& outputs,
                                   TimePoint now);

  // Lets go of checkpoints that the options do not keep, of ended jobs too (rule 16 alone does so
  // for a job whose steps go on): for a server that is to keep fewer than before.
  Decision<Nothing> prune_checkpoints();

  // Rule 26, for a server that is to keep less than before.
  Decision<Nothing> limit_retained();
  // Some blobs of this record are gone (a power failure took what was not on disk yet): neither it
  // nor earlier ones of the job are kept any longer.
  Decision<Nothing> give_up_retained(JobId job, std::uint64_t sequence);

  // Ends leases whose time is up and wakes hosts for backups that fall due. May be called any time.
  Decision<Nothing> tick(TimePoint now);

  // ---- Questions (change nothing) ----

  std::optional<ResultInfo> result_info(HostId host, ResultId result) const;
  std::optional<JobView> job(JobId job, TimePoint now) const;
  // By id.
  std::vector<JobView> jobs(TimePoint now) const;
  // `stored`: the job's contributions as they are stored, for a job that had ended before the
  // start: those need not be in the snapshot. Ignored if they were.
  std::optional<JobSummary> job_summary(JobId job, TimePoint now,
                                        std::span<const ContributionRow> stored = {}) const;
  // Newest first; empty for an unknown job.
  std::vector<ModelView> models(JobId job) const;
  // Oldest first; empty for an unknown job.
  std::vector<RetainedStep> retained_steps(JobId job) const;
  std::optional<HostView> host(HostId host) const;
  // By id.
  std::vector<HostView> hosts() const;
  // What pairs of reliable hosts that agreed have shown, by device classes; and the limits that
  // hold now. Empty for an unknown job.
  std::vector<AgreementView> agreements(JobId job) const;
  std::uint32_t running_job_count() const;
  // Hosts whose last call is at most `window` ago.
  std::uint32_t active_host_count(TimePoint now, std::chrono::milliseconds window) const;
  // A running or paused job trains on it.
  bool is_dataset_used(const Digest& manifest_digest) const;
  bool is_blob_referenced(const Digest& blob) const;
  // Every blob that a job still needs, in order: for collecting garbage. Data sets (manifests,
  // chunks) are the shell's and are not among them.
  std::vector<Digest> referenced_blobs() const;

  // Verifies every invariant from scratch; aborts (MH_CHECK) if one is broken. Linear in the state;
  // for tests and the simulator.
  void sanity_check() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mh::scheduler
