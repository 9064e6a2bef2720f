// Transitions on their way to the store, in the order of the decisions. Holds back a transition
// that counts an update until the update's blob is safe, or until the step that it belongs to has
// been published: then both transitions are committed as one, and no step needs the blob again.
//
//   Core::settle -> push() -> [make_durable on the pool | consumed by a later push] ->
//   Store::commit
//
// Rules
// 1. Transitions are committed in the order of push(). One that waits holds up those behind it.
//    *Rationale:* later decisions stand on earlier ones.
// 2. No row that counts an update is committed before the update is on disk, unless in the same
//    transaction as the row of the step that consumed it, whose parameters are on disk.
// 3. The disk is asked for an update after a wait as long as the disk would take, or, when
//    its step is being aggregated already, after published_wait. *Rationale:* with as many hosts as
//    workunits all updates of a step come at nearly the same time and its parameters soon after;
//    then only these are waited for. Else the reply is late by the wait, while the host already
//    computes its next workunit.
// 4. A disk that refuses is asked again every retry_pause; replies wait. An update whose bytes are
//    lost by then ends the process. *Rationale:* the decisions that count it are not committed, and
//    after a restart it is counted as never come: its host sends it again.
// Threads: the state strand.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "server/blob_store.h"
#include "server/store.h"

namespace mh::server {

namespace asio = boost::asio;

struct CommitQueueOptions {
  // For the wait of rule 3: what a common disk writes.
  std::uint64_t wait_bytes_per_second = 400'000'000;
  std::chrono::microseconds wait_min{500};
  std::chrono::microseconds wait_max{50'000};
  std::chrono::milliseconds published_wait{500};
  std::chrono::milliseconds retry_pause{1'000};
};

// A transition and what it has to do with updates.
struct QueuedTransition {
  Transaction transaction;
  // Updates that it counts.
  std::vector<Digest> updates;
  // Updates of steps that are complete now and being aggregated.
  std::vector<Digest> aggregating;
  // Updates of the step whose end it records.
  std::vector<Digest> consumed;
};

class CommitQueue {
 public:
  // All must outlive this.
  CommitQueue(Store& store, BlobStore& blobs, asio::any_io_executor strand,
              asio::any_io_executor pool, CommitQueueOptions options = {});

  // `committed` is called on the strand once the transition is durable.
  void push(QueuedTransition transition, std::function<void()> committed);
  // Transitions pushed and not committed yet.
  std::uint64_t in_flight() const { return in_flight_; }

 private:
  struct Entry {
    Transaction transaction;
    std::function<void()> committed;
    // Updates that must be safe or consumed first.
    std::set<Digest> open;
    // Sequence number of the entry that consumed one of its updates: both go together.
    std::uint64_t together_with = 0;
  };
  // An update on its way to safety, shared with its timer.
  struct Pending {
    explicit Pending(const asio::any_io_executor& strand) : timer(strand) {}
    asio::steady_timer timer;
    bool is_with_disk = false;
    bool was_refused = false;
    // Sequence numbers of the entries that count it.
    std::vector<std::uint64_t> entries;
  };

  void expect(const Digest& update, std::uint64_t sequence);
  void ask_disk_after(const Digest& update, std::chrono::microseconds wait);
  void ask_disk(const Digest& update);
  void settle_update(const Digest& update, std::uint64_t consumed_by);
  void flush();
  // Calls what the store has told as committed.
  void tell_committed();
  // Number of entries at the front that must go together, 0 if they cannot go yet.
  std::size_t group_size() const;
  void commit_group(std::size_t size);

  Store& store_;
  BlobStore& blobs_;
  const asio::any_io_executor strand_;
  const asio::any_io_executor pool_;
  const CommitQueueOptions options_;
  std::deque<Entry> queue_;
  // Sequence number of the front entry; the first is 1.
  std::uint64_t front_ = 1;
  std::uint64_t in_flight_ = 0;
  std::unordered_map<Digest, std::shared_ptr<Pending>> pending_;
  // What the store's thread has committed since the strand last looked: one turn of the strand for
  // a whole group. Shared with the store, behind a leaf mutex.
  struct Committed {
    std::mutex mutex;
    // Guarded by mutex.
    std::vector<std::function<void()>> told;
  };
  const std::shared_ptr<Committed> committed_ = std::make_shared<Committed>();
};

}  // namespace mh::server
