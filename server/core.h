// The state strand's owner: the coordinator, accounts and data sets in memory, and the one way in
// which a decision becomes real: its rows are committed, its effects carried out, the caller
// answered, in that order.
//
// Flow: handle_* -> a decision -> Core::settle -> Store::commit, AggregationRunner, parked calls
//       AggregationRunner -> step_completed -> settle; a timer -> tick -> settle
//
// Rules
// 1. Between taking a decision and settle() nothing may be awaited: commits are in the order of the
//    decisions. settle() hands the rows to the store before it first waits.
// 2. What leaves the process (replies, woken calls, deleted blobs) waits for the commit. The
//    aggregation of an accepted update does not: its only outcome is a blob, and the row that names
//    it is committed with or after the row of the update (commit_queue.h). *Rationale:* one wait
//    for the disk less in every step. Held calls are woken at once, too: what they are told is
//    committed behind the decision that woke them.
// 3. Replies that only read wait for the commits under way (settled()). *Rationale:* nobody may see
//    what a crash could still take back.
// 4. A blob is deleted only after another look on the strand whether anybody needs it, in the same
//    turn in which it is taken out of its place; and none while a backup holds them.
// Threads: everything here runs on the state strand.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "proto/base/clock.h"
#include "proto/base/signature.h"
#include "scheduler/coordinator.h"
#include "server/accounts.h"
#include "server/aggregation_runner.h"
#include "server/blob_store.h"
#include "server/commit_queue.h"
#include "server/datasets.h"
#include "server/disk_watch.h"
#include "server/host_uploads.h"
#include "server/job_models.h"
#include "server/parked_calls.h"
#include "server/store.h"
#include "server/turnstile.h"
#include "server/update_keeper.h"

namespace mh::server {

namespace asio = boost::asio;

// What it takes at a time; beyond, calls are refused before any work is done for them.
struct CoreLimits {
  std::uint64_t commits_max = 4'096;
  // Calls worked on at a time, and those that wait for their turn.
  std::size_t working_calls_max = 512;
  std::size_t waiting_calls_max = 8'192;
  std::size_t held_calls_max = 10'000;
};

// What the core is made of; all must outlive it.
struct CoreParts {
  Store& store;
  BlobStore& blobs;
  HostUploads& host_uploads;
  const DiskWatch& disk;
  const Clock& clock;
  // Signs step records.
  const SigningKey& signing_key;
  // The state strand, and where functions may block on the disk.
  asio::any_io_executor strand;
  asio::any_io_executor pool;
  CoreLimits limits;
  // Who runs this project, as the admin wrote it.
  std::string run_by = {};
};

// Keys of ParkedCalls that are not job ids (which start at 1).
inline constexpr std::uint64_t kWorkKey = 0;
// Model files kept for download.
inline constexpr std::size_t kExportsMax = 16;

class Core {
 public:
  // `manifests` are those of the snapshot's data sets, in their order.
  Core(const CoreParts& parts, ServerSnapshot snapshot, std::vector<ManifestPtr> manifests,
       const scheduler::CoordinatorOptions& options = {});

  // Takes up the steps in progress. Call once, on the strand, before calls are taken.
  void start();
  // Answers all parked calls and takes no further step. Call on the strand.
  void stop();

  scheduler::Coordinator& coordinator() { return coordinator_; }
  const scheduler::Coordinator& coordinator() const { return coordinator_; }
  Accounts& accounts() { return accounts_; }
  Datasets& datasets() { return datasets_; }
  ParkedCalls& parked() { return parked_; }
  Turnstile& turnstile() { return turnstile_; }
  // The server is behind: whoever comes now waits long, and so do all after it.
  bool is_full() const {
    return commits_.in_flight() >= parts_.limits.commits_max ||
           turnstile_.waiting() >= parts_.limits.waiting_calls_max;
  }
  Store& store() { return parts_.store; }
  BlobStore& blobs() { return parts_.blobs; }
  // Thread-safe.
  const DiskWatch& disk() const { return parts_.disk; }
  const asio::any_io_executor& strand() const { return parts_.strand; }
  const asio::any_io_executor& pool() const { return parts_.pool; }
  // Thread-safe.
  const SigningKey& signing_key() const { return parts_.signing_key; }
  const std::string& server_id() const { return server_id_; }
  const std::string& run_by() const { return parts_.run_by; }
  TimePoint now() const { return parts_.clock.now(); }
  TimePoint started() const { return started_; }
  // Hosts seen in the last minute.
  std::uint32_t active_host_count() const;

  // Commits and waits. Nothing to commit: waits for the commits under way.
  asio::awaitable<void> commit(Transaction transaction);
  asio::awaitable<void> settled() { return commit(Transaction{}); }

  // Makes a decision real (rules 1 and 2) together with rows of the shell's own; returns its reply.
  template <class Reply>
  asio::awaitable<Reply> settle(scheduler::Decision<Reply> decision, Transaction extra = {}) {
    extra.changes = std::move(decision.changes);
    follow_timer(decision.wake_at);
    begin_effects(decision.effects);
    if (decision.effects.updates_accepted.empty() && decision.effects.updates_reported.empty()) {
      co_await commit(std::move(extra));
    } else {
      QueuedTransition transition = transition_of(std::move(extra), decision.effects);
      co_await commit_transition(std::move(transition));
    }
    finish_effects(std::move(decision.effects));
    co_return std::move(decision.reply);
  }

  // A job's model, from memory or from its blobs. Errors: kNotFound (no such job, blob gone).
  asio::awaitable<Result<JobModelPtr>> job_model(JobId job);

  // While a job is held, no work of it is given out and its steps come to rest.
  void hold_job(JobId job, bool is_held);

  // A job was submitted: its updates may come. Before the decision is settled.
  void job_started(JobId job);

  // A file made for a download: kept until kExportsMax newer ones were made.
  void keep_export(const Digest& blob);

  // Deletes these blobs soon, unless somebody needs them by then.
  void release_blobs(std::vector<Digest> blobs);
  bool is_blob_needed(const Digest& blob) const;

 private:
  void follow_timer(std::optional<TimePoint> wake_at);
  void begin_effects(const scheduler::Effects& effects);
  void finish_effects(scheduler::Effects effects);
  // Measures and tells the coordinator.
  asio::awaitable<void> compare(scheduler::Comparison comparison);
  // Gives up kept blobs that are not there, and what the options do not keep.
  void settle_retained();
  void step_done(JobId job, std::uint64_t step, scheduler::StepOutput output);
  void tick();
  void sweep();
  // settle() for decisions that no call waits for.
  void settle_alone(scheduler::Decision<scheduler::Nothing> decision,
                    std::vector<Digest> consumed = {});
  asio::awaitable<void> commit_transition(QueuedTransition transition);
  QueuedTransition transition_of(Transaction transaction, const scheduler::Effects& effects) const;

  const CoreParts parts_;
  const std::string server_id_;
  const TimePoint started_;
  scheduler::Coordinator coordinator_;
  Accounts accounts_;
  Datasets datasets_;
  Turnstile turnstile_;
  ParkedCalls parked_;
  JobModels models_;
  AggregationRunner aggregation_;
  CommitQueue commits_;
  // Updates of the step that a job's aggregation is making.
  std::map<JobId, std::vector<Digest>> aggregating_;
  asio::steady_timer timer_;
  std::optional<TimePoint> wake_at_;
  std::deque<Digest> exports_;
  std::deque<Digest> unneeded_;
  bool is_sweeping_ = false;
  // Rings for the next sweep while a backup holds the blobs.
  asio::steady_timer sweep_timer_;
  UpdateKeeper keeper_;
  bool is_stopping_ = false;
};

}  // namespace mh::server
