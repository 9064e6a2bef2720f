// See commit_queue.h.
#include "server/commit_queue.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <utility>

#include "proto/base/log.h"

namespace mh::server {

CommitQueue::CommitQueue(Store& store, BlobStore& blobs, asio::any_io_executor strand,
                         asio::any_io_executor pool, CommitQueueOptions options)
    : store_(store),
      blobs_(blobs),
      strand_(std::move(strand)),
      pool_(std::move(pool)),
      options_(options) {}

void CommitQueue::push(QueuedTransition transition, std::function<void()> committed) {
  const std::uint64_t sequence = front_ + queue_.size();
  ++in_flight_;
  queue_.push_back(Entry{std::move(transition.transaction), std::move(committed), {}, 0});
  for (const Digest& update : transition.updates) expect(update, sequence);
  for (const Digest& update : transition.aggregating) {
    if (pending_.contains(update)) ask_disk_after(update, options_.published_wait);
  }
  for (const Digest& update : transition.consumed) settle_update(update, sequence);
  flush();
}

void CommitQueue::expect(const Digest& update, std::uint64_t sequence) {
  if (!blobs_.is_fresh(update)) return;
  queue_.back().open.insert(update);
  auto& pending = pending_[update];
  const bool is_new = pending == nullptr;
  if (is_new) pending = std::make_shared<Pending>(strand_);
  pending->entries.push_back(sequence);
  if (!is_new) return;
  const auto bytes = blobs_.size(update);
  const std::uint64_t microseconds =
      (bytes ? *bytes : 0) * 1'000'000 / options_.wait_bytes_per_second;
  ask_disk_after(update, std::clamp(std::chrono::microseconds(microseconds), options_.wait_min,
                                    options_.wait_max));
}

void CommitQueue::ask_disk_after(const Digest& update, std::chrono::microseconds wait) {
  const std::shared_ptr<Pending>& pending = pending_.at(update);
  if (pending->is_with_disk) return;
  pending->timer.expires_after(wait);
  pending->timer.async_wait([this, update](const boost::system::error_code& error) {
    if (!error && pending_.contains(update)) ask_disk(update);
  });
}

void CommitQueue::ask_disk(const Digest& update) {
  const std::shared_ptr<Pending> pending = pending_.at(update);
  if (pending->is_with_disk) return;
  pending->is_with_disk = true;
  asio::post(pool_, [this, update, pending] {
    const Result<void> done = blobs_.make_durable(update);
    asio::post(strand_, [this, update, pending, done] {
      const auto found = pending_.find(update);
      // Consumed meanwhile.
      if (found == pending_.end() || found->second != pending) return;
      // One that has vanished cannot be helped by waiting: its job will say so.
      if (done || done.error().code == Errc::kNotFound) {
        settle_update(update, 0);
        flush();
        return;
      }
      if (done.error().code == Errc::kDataLoss) {
        log_error(
            "an update is lost: stopping, because it counts in memory and not on disk; "
            "nothing that was acknowledged is lost, start again",
            {{"update", update.hex()}, {"error", done.error().message}});
        std::abort();
      }
      if (!std::exchange(pending->was_refused, true)) {
        log_error("an update cannot be made durable; trying again until it works",
                  {{"update", update.hex()}, {"error", done.error().message}});
      }
      pending->is_with_disk = false;
      ask_disk_after(update, options_.retry_pause);
    });
  });
}

void CommitQueue::settle_update(const Digest& update, std::uint64_t consumed_by) {
  const auto found = pending_.find(update);
  if (found == pending_.end()) return;
  for (const std::uint64_t sequence : found->second->entries) {
    // An entry with an open update has not been committed.
    Entry& entry = queue_[sequence - front_];
    entry.open.erase(update);
    entry.together_with = std::max(entry.together_with, consumed_by);
  }
  found->second->timer.cancel();
  pending_.erase(found);
}

std::size_t CommitQueue::group_size() const {
  if (queue_.empty()) return 0;
  std::uint64_t last = front_;
  for (std::uint64_t sequence = front_; sequence <= last; ++sequence) {
    const Entry& entry = queue_[sequence - front_];
    if (!entry.open.empty()) return 0;
    last = std::max(last, entry.together_with);
  }
  return static_cast<std::size_t>(last - front_ + 1);
}

void CommitQueue::flush() {
  for (std::size_t size = group_size(); size > 0; size = group_size()) commit_group(size);
}

void CommitQueue::commit_group(std::size_t size) {
  Transaction rows = std::move(queue_.front().transaction);
  std::vector<std::function<void()>> told;
  for (std::size_t i = 0; i < size; ++i) {
    if (i > 0) append(rows, std::move(queue_[i].transaction));
    told.push_back(std::move(queue_[i].committed));
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(size));
  front_ += size;
  // The store may tell after this has gone, when the strand runs no more.
  auto note = [this, strand = strand_, committed = committed_, told = std::move(told)] {
    bool is_first = false;
    {
      const std::lock_guard lock(committed->mutex);
      is_first = committed->told.empty();
      committed->told.insert(committed->told.end(), told.begin(), told.end());
    }
    if (is_first) asio::post(strand, [this] { tell_committed(); });
  };
  store_.commit(std::move(rows), std::move(note));
}

void CommitQueue::tell_committed() {
  std::vector<std::function<void()>> told;
  {
    const std::lock_guard lock(committed_->mutex);
    told.swap(committed_->told);
  }
  for (const auto& committed : told) {
    --in_flight_;
    committed();
  }
}

}  // namespace mh::server
