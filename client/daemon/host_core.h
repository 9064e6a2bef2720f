// The host core: decides what a volunteer's client does next. Pure: events and `now` come in,
// actions go out (host_types.h); no I/O, no clock, no threads. The shell is daemon.cpp.
//
//   exchange reply ─▶ downloads ─▶ trainer ─▶ upload ─▶ report ─▶ verdict
//
// Rules:
//  1. At most `queue_length` results that are not computed yet are held; more is asked for only
//     when the trainer is ready. *Rationale:* the inputs of the next workunit arrive while the
//     current one computes; a host without trainer must not sit on leases.
//  2. The poll (asks for work, may be parked) and the report (never waits) are two calls on two
//     connections. A result id seen before is never taken again. *Rationale:* a parked poll was
//     sent before the report; the server may offer again what was reported meanwhile.
//  3. Blobs wanted by several workunits are downloaded once. The last few parameter blobs are
//     kept, older ones dropped. *Rationale:* workunits of one step share their parameters.
//  4. A finished result is recorded before it is uploaded and forgotten only on a verdict.
//     *Rationale:* kill -9 of the client loses no finished work.
//  5. A server that is away is told once, asked again after a full-jitter back-off, and told once
//     when it is back. One that has too much to do says how long to stay away: the back-off comes
//     on top of that, or all would come back together. One call at a time asks; transfers wait for
//     its answer. Computing goes on meanwhile. *Rationale:* what has piled up in a day must not be
//     tried all at once, again and again; and the first answer says which of it nobody needs any
//     more.
//     Jobs with pinned numerics need a trainer started for them: when the next workunit is of the
//     other kind, those with the trainer are finished first, and another one is started.
//  6. A trainer that ends takes nothing with it: its workunits are given to the next one; a
//     workunit during which two trainers ended is reported as failed. Restarts back off.
//  7. Paused: computing stops, uncomputed leases go back, finished results are still delivered.
//     Finishing: nothing new is taken, what is held is finished. Stopping: as paused, then exit,
//     at the latest after `stop_limit`.
//  8. No number of failed tries gives a finished result up, only its age (`undelivered_age_max`),
//     the server's word, or damage on this disk. Uploads that fail wait with full jitter, at most
//     two are tried at a time. While `undelivered_count_max` results or `undelivered_bytes_max`
//     bytes wait, no new work is asked for. *Rationale:* a laptop that was a day without network
//     delivers what it has, and a server that takes nothing does not fill the volunteer's disk.
//  9. `now` may jump: a clock that is set back costs no time, one that is set forward makes things
//     due early. *Rationale:* else a clock set back by a day stops the host for a day.
// Threads: one strand.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "client/daemon/host_types.h"
#include "proto/net/backoff.h"

namespace mh::client {

struct HostCoreOptions {
  std::uint32_t queue_length = 2;
  std::chrono::milliseconds poll_wait = std::chrono::seconds(25);
  /// A workunit is given up when an input cannot be had, a report gets no verdict, or its update is
  /// found damaged so often.
  std::uint32_t attempt_count_max = 5;
  /// Finished results that wait for the server's verdict; see rule 8.
  std::uint32_t undelivered_count_max = 64;
  std::uint64_t undelivered_bytes_max = 4'000'000'000;
  std::chrono::milliseconds undelivered_age_max = std::chrono::hours(7 * 24);
  std::uint32_t uploads_at_once = 2;
  std::uint32_t trainer_end_count_max = 2;
  std::size_t parameters_kept = 4;
  std::chrono::milliseconds stop_limit = std::chrono::seconds(3);
  /// While the server refuses this host (unknown secret, other version).
  std::chrono::milliseconds refused_wait = std::chrono::minutes(5);
  /// Longest Retry-After that is believed.
  std::chrono::milliseconds retry_after_max = std::chrono::minutes(10);
  net::BackoffOptions backoff;
  /// Between tries to upload or download one thing.
  net::BackoffOptions transfer_backoff = {std::chrono::milliseconds(500), std::chrono::minutes(5)};
  net::BackoffOptions trainer_backoff = {std::chrono::milliseconds(500), std::chrono::minutes(5)};
  /// For jitter.
  std::uint64_t seed = 0;
};

/// The life of a workunit on this host.
enum class WorkState {
  kDownloading,  // inputs are on their way
  kReady,        // all inputs are here
  kComputing,    // with the trainer, or waiting in its queue
  kUploading,    // the update is on its way
  kReporting,    // the server has to be told
};
std::string_view work_state_name(WorkState state);

/// What the client does and why, for `status`.
struct HostStatus {
  /// "computing", "waiting", "paused", "finishing", "stopping".
  std::string activity;
  /// One sentence: what it does, and why not more.
  std::string sentence;
  bool server_reachable = true;
  bool trainer_ready = false;
  TrainerReady trainer;
  std::uint64_t valid_count = 0;
  std::uint64_t rejected_count = 0;
  std::uint64_t failed_count = 0;
  /// Taken, and waiting for a check by another host when they were reported.
  std::uint64_t pending_count = 0;
  /// Of this host over all its time, GFLOP: granted, and held back until a check passes.
  double credit = 0;
  double credit_held = 0;
  /// What the server says of its results; usually empty.
  std::string notice;
  /// Finished results that the server has not judged yet, and the bytes of their updates.
  std::uint64_t undelivered_count = 0;
  std::uint64_t undelivered_bytes = 0;
  struct Work {
    ResultId result;
    JobId job;
    std::string job_name;
    std::uint64_t step = 0;
    WorkState state = WorkState::kDownloading;
    std::uint64_t samples_done = 0;
    std::uint64_t samples = 0;
  };
  std::vector<Work> work;
};

class HostCore {
 public:
  explicit HostCore(HostCoreOptions options = {});

  /// First event. `recovered`: records that an earlier run left; their update files are still
  /// there. `is_paused`: the volunteer paused it in an earlier run.
  Actions start(TimePoint now, std::vector<Report> recovered, bool is_paused);

  Actions exchange_done(TimePoint now, Channel channel, const ExchangeReply& reply);
  /// `retry_after`: the server asked not to come back before.
  Actions exchange_failed(TimePoint now, Channel channel, const Error& error,
                          std::chrono::milliseconds retry_after = {});
  /// A blob is in the cache. For a manifest the shell passes its chunks.
  Actions download_done(TimePoint now, const Digest& digest, const ManifestChunks* manifest);
  Actions download_failed(TimePoint now, const Digest& digest, const Error& error);
  /// Blobs of a workunit that was to be computed are not in the cache after all (somebody emptied
  /// the folder): they are fetched again.
  Actions inputs_lost(TimePoint now, ResultId result, const std::vector<Digest>& inputs);
  Actions trainer_ready(TimePoint now, TrainerReady trainer);
  Actions trainer_progress(ResultId result, std::uint64_t samples_done);
  Actions trainer_done(TimePoint now, const TrainerDone& done);
  Actions trainer_failed(TimePoint now, ResultId result, std::string error);
  /// The process ended or could not be started; `how` says it ("exit code 1", "signal 9").
  Actions trainer_ended(TimePoint now, std::string how);
  Actions upload_done(TimePoint now, ResultId result);
  Actions upload_failed(TimePoint now, ResultId result, const Error& error);

  Actions pause(TimePoint now);
  Actions resume(TimePoint now);
  Actions finish(TimePoint now);
  Actions stop(TimePoint now);
  Actions timer(TimePoint now);

  /// When timer() wants to be called; nothing: not before the next event.
  std::optional<TimePoint> wake_at() const;

  /// Blobs that lie in the cache from earlier runs: counted as holdings, but asked for by
  /// StartDownload like others, so that the shell verifies them before the first use.
  void set_present(std::set<Digest> blobs) { present_ = std::move(blobs); }
  /// A manifest that lies in the cache, verified.
  void add_manifest(const Digest& digest, ManifestChunks chunks);
  /// The cache dropped a blob. Requires: not needed.
  void blob_evicted(const Digest& digest);
  /// True while a workunit at hand uses the blob: the cache keeps it.
  bool is_needed(const Digest& digest) const;

  bool is_paused() const { return is_paused_; }
  HostStatus status() const;

 private:
  struct Work {
    Assignment assignment;
    WorkState state = WorkState::kDownloading;
    Report report;
    /// Blobs it needs; chunks only once its manifest is known.
    std::vector<std::pair<Digest, BlobKind>> inputs;
    bool has_all_inputs = false;
    std::uint32_t attempt_count = 0;
    std::uint32_t upload_failure_count = 0;
    std::uint32_t trainer_end_count = 0;
    /// Not before; for uploads that failed.
    TimePoint retry_at{};
    bool is_under_way = false;  // its upload
    bool was_sent = false;      // its report is in the call on its way
    std::uint64_t samples_done = 0;

    bool is_undelivered() const {
      return state >= WorkState::kUploading && report.outcome == Outcome::kSuccess;
    }
  };
  struct Fetch {
    BlobKind kind = BlobKind::kChunk;
    std::uint32_t attempt_count = 0;
    std::uint32_t failure_count = 0;
    bool is_under_way = false;
    TimePoint retry_at{};
  };
  struct ExchangeState {
    bool is_under_way = false;
    bool is_cancelled = false;
    bool asked_for_work = false;
    bool had_description = false;
    bool waits_for_report = false;
    TimePoint next_at{};
    std::vector<ResultId> reported;
  };
  enum class Mode { kRunning, kFinishing, kStopping, kExited };
  enum class TrainerState { kStopped, kStarting, kReady, kWaiting };

  // host_core.cpp: the life of the host.
  Actions settle(TimePoint now);
  TimePoint steady(TimePoint now);
  bool is_due(TimePoint now, TimePoint at);
  void advance_trainer(TimePoint now);
  void advance_report(TimePoint now);
  void advance_poll(TimePoint now);
  void ask_whether_it_is_back(TimePoint now);
  void advance_exit(TimePoint now);
  void start_exchange(Channel channel, ExchangeCall call);
  void end_exchange(TimePoint now, ExchangeState& exchange);
  void cancel_poll();
  void server_answered();
  void server_failed(TimePoint now, const Error& error, std::chrono::milliseconds retry_after = {});
  void stop_trainer();
  /// Starts another, with pinned numerics or without. Requires: nothing is being computed.
  void change_trainer(bool is_pinned);
  void return_uncomputed(const std::string& why);
  bool accepts_work() const;
  std::uint32_t uncomputed_count() const;
  std::vector<ResultId> held_except(const std::vector<ResultId>& reported) const;
  std::vector<DatasetHolding> holdings() const;
  std::chrono::milliseconds shortest_lease() const;
  std::chrono::milliseconds transfer_wait(std::uint32_t failure_count);
  void log(Severity severity, std::string text);
  // host_delivery.cpp: finished results, however long the server is away.
  void recover(TimePoint now, std::vector<Report> recovered);
  void drop_stale(TimePoint now);
  void advance_uploads(TimePoint now);
  bool has_too_much_undelivered() const;
  std::uint64_t undelivered_count() const;
  std::uint64_t undelivered_bytes() const;
  // host_work.cpp: the life of a workunit.
  void take(const Assignment& assignment);
  void advance_work(TimePoint now);
  void advance_inputs(TimePoint now, Work& work);
  void find_inputs(Work& work);
  void give_up(Work& work, Outcome outcome, std::string error);
  void judge(const Verdict& verdict);
  void revoke(ResultId result);
  void forget(ResultId result);
  void note_parameters(const Digest& digest);
  bool uses(const Work& work, const Digest& digest) const;
  // host_status.cpp
  std::string describe() const;

  const HostCoreOptions options_;
  Actions actions_;
  Mode mode_ = Mode::kRunning;
  bool is_paused_ = false;
  TimePoint stop_at_{};
  // In steady time, as all times below.
  std::optional<TimePoint> wake_at_;
  // As last given, and the time that passed forward.
  TimePoint last_now_{};
  TimePoint steady_now_{};

  std::map<ResultId, Work> work_;
  std::deque<ResultId> order_;   // of assignment: first come, first computed
  std::deque<ResultId> closed_;  // ids not to be taken again, newest last
  std::map<Digest, Fetch> fetches_;
  std::set<Digest> cached_;   // verified
  std::set<Digest> present_;  // on disk from earlier runs
  std::map<Digest, ManifestChunks> manifests_;
  std::deque<Digest> recent_parameters_;

  TrainerState trainer_state_ = TrainerState::kStopped;
  TrainerReady trainer_;
  /// What the present or next trainer is started with.
  bool trainer_is_pinned_ = false;
  TimePoint trainer_start_at_{};
  net::Backoff trainer_backoff_;
  std::string trainer_problem_;
  bool description_is_due_ = true;

  ExchangeState poll_;
  ExchangeState report_;
  net::Backoff server_backoff_;
  net::Backoff failure_backoff_;
  bool is_server_away_ = false;
  /// The server has answered in this run.
  bool has_answered_ = false;
  bool is_refused_ = false;
  TimePoint server_retry_at_{};
  TimePoint ask_not_before_{};
  TimePoint renew_at_{};
  /// One call without asking for work: learn of leases that an earlier run or call lost.
  bool sweep_is_due_ = true;
  std::string no_work_reason_;
  std::string server_problem_;

  Philox4x32 random_;
  std::uint64_t valid_count_ = 0;
  std::uint64_t rejected_count_ = 0;
  std::uint64_t failed_count_ = 0;
  std::uint64_t pending_count_ = 0;
  double credit_ = 0;
  double credit_held_ = 0;
  std::string notice_;
};

}  // namespace mh::client
