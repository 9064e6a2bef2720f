// Which blobs came from hosts as updates. The coordinator names unused updates by what a host said;
// only what really came from a host may be deleted on such a word.
// Threads: any (one leaf mutex).
#pragma once

#include <deque>
#include <mutex>
#include <unordered_set>

#include "proto/base/sha256.h"

namespace mh::server {

class HostUploads {
 public:
  // The oldest are forgotten beyond it (what is forgotten is not deleted early, only later by gc).
  static constexpr std::size_t kKeptMax = 65'536;

  void add(const Digest& blob) {
    const std::lock_guard lock(mutex_);
    if (!blobs_.insert(blob).second) return;
    order_.push_back(blob);
    if (order_.size() <= kKeptMax) return;
    blobs_.erase(order_.front());
    order_.pop_front();
  }

  bool contains(const Digest& blob) const {
    const std::lock_guard lock(mutex_);
    return blobs_.contains(blob);
  }

 private:
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_set<Digest> blobs_;
  std::deque<Digest> order_;
};

}  // namespace mh::server
