// What UploadStore knows of one upload. Private to upload_store.cpp and upload_append.cpp.
#pragma once

#include <string>

#include "server/upload_files.h"
#include "server/upload_store.h"

namespace mh::server {

struct UploadStore::Upload {
  // Constant after creation.
  std::string id;
  std::string owner;
  std::uint64_t length = 0;
  Digest digest;
  // Guarded by mutex_; of a busy upload only the one who made it busy writes them. The data file
  // may be longer than `offset` (a write that failed half-way), never shorter.
  std::uint64_t offset = 0;
  TimePoint expires{};
  bool is_busy = false;
  // Owned by whoever made the upload busy. The hash is of the first `offset` bytes, if current.
  Sha256 hash;
  bool hash_is_current = false;
  // When the .info file says that it expires; TimePoint{}: there is none yet.
  TimePoint expires_in_info{};

  UploadStatus status() const { return UploadStatus{id, offset, length, expires, false, digest}; }
  UploadInfo info() const { return UploadInfo{owner, length, digest, expires}; }
  bool is_of(std::string_view whose, std::uint64_t bytes, const Digest& blob) const {
    return owner == whose && length == bytes && digest == blob && !blob.is_zero();
  }
};

// What became of an appended piece.
struct UploadStore::Outcome {
  Result<void> done;
  // Where the upload stands now.
  std::uint64_t offset = 0;
  // Published, or of no use any more: to be forgotten.
  bool is_over = false;
  // Of what was published.
  Digest digest;
};

}  // namespace mh::server
