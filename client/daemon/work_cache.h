// The cache of blobs on a volunteer's disk: files named by digest in one folder, bounded in bytes,
// least recently used out first. It only keeps the books; downloads are the daemon's.
// Files are not fsynced: what a crash may have damaged is verified before its first use in a run.
// Threads: one.
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::client {

class WorkCache {
 public:
  /// Looks through the folder (must exist): blobs of earlier runs count, oldest access first;
  /// partial downloads older than a day and foreign files are removed.
  WorkCache(std::filesystem::path folder, std::uint64_t bytes_max);

  std::filesystem::path path(const Digest& digest) const { return folder_ / digest.hex(); }
  bool contains(const Digest& digest) const { return entries_.contains(digest); }
  /// In the cache from an earlier run and not verified since.
  bool needs_verification(const Digest& digest) const;
  void set_verified(const Digest& digest);
  /// A download has put the file in place, verified. Takes the size from the file.
  Status add(const Digest& digest);
  /// It is about to be used: the last to be dropped.
  void touch(const Digest& digest);
  /// Removes the file; none there is no error.
  void remove(const Digest& digest);
  /// Drops least recently used blobs that are not `is_needed` until the limit holds; returns them.
  std::vector<Digest> shrink(const std::function<bool(const Digest&)>& is_needed);

  std::set<Digest> digests() const;
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t bytes_max() const { return bytes_max_; }

 private:
  struct Entry {
    std::uint64_t bytes = 0;
    bool is_verified = false;
    std::list<Digest>::iterator place;
  };
  void insert(const Digest& digest, std::uint64_t bytes, bool is_verified);

  const std::filesystem::path folder_;
  const std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::map<Digest, Entry> entries_;
  std::list<Digest> by_use_;  // least recently used first
};

}  // namespace mh::client
