// Blobs by SHA-256 on disk: DIR/a/<hex>. A blob appears there whole or not at all (temporary name,
// fsync, rename, fsync of the folder), and its name is its content, so a file that exists is right.
//
// What the disk refuses leaves no blob behind. After an fsync that failed nothing is believed that
// a later fsync of the same file or folder says, because the kernel reports a loss only once: a
// file in the making is deleted, a fresh blob or a name is in doubt until its bytes, proven by
// their digest, have been written anew.
//
// Fresh blobs lie in DIR/fresh/<hex> instead: whole and readable like others, but not yet safe from
// a power failure. make_durable() moves them to their place. *Rationale:* an update is needed for
// some milliseconds; if its step is published by then, nobody has to wait for the disk on its
// account (server/commit_queue.h). A start takes up the fresh blobs whose bytes are right.
//
// Files that are no longer needed may be given back by recycle(): their blocks are overwritten by
// the next blob of the same size, which halves the time of its fsync. A file with another name (a
// backup's hard link) is never one of them.
// Used by uploads, the aggregation runner, the job and data set services and GET /blob.
// Threads: every member may be called from any thread; all of them may block on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "server/blob_folder.h"
#include "server/disk.h"

namespace mh::server {

class BlobStore {
 public:
  // Makes the folder if need be and removes temporary files that a crash left behind. `disk` must
  // outlive this. Errors: kInternal (the folder cannot be used).
  static Result<BlobStore> open(std::filesystem::path folder, Disk& disk = posix_disk());

  bool contains(const Digest& digest) const;
  // Makes sure that a blob that contains() has seen is still there after a power failure: another
  // thread may have renamed it into place a moment ago. Errors: kDataLoss (in doubt: store it
  // again), kResourceExhausted, kInternal.
  Result<void> settle(const Digest& digest);
  // Errors: kNotFound.
  Result<std::uint64_t> size(const Digest& digest) const;
  // Errors: kNotFound.
  Result<OpenBlob> open_blob(const Digest& digest) const;
  // The whole blob. Errors: kNotFound, kResourceExhausted (more than bytes_max).
  Result<std::vector<std::byte>> read(const Digest& digest, std::uint64_t bytes_max) const;

  // Stores bytes durably and returns their digest; hashing and writing go hand in hand.
  // Errors: kResourceExhausted (disk full), kInternal.
  Result<Digest> put(std::span<const std::byte> content);
  Result<Digest> put(std::string_view content);
  // Takes over a finished file (already fsynced, on the same file system) whose digest the caller
  // has computed. After an error `file` may have been taken over all the same: look whether it is
  // still there.
  Result<void> adopt(const std::filesystem::path& file, const Digest& digest);
  // The same for a finished file that is not fsynced: a fresh blob.
  Result<void> adopt_fresh(const std::filesystem::path& file, const Digest& digest);
  bool is_fresh(const Digest& digest) const;
  // After it a blob is safe from a power failure; nothing to do for one that is not fresh.
  // Errors: kNotFound (taken out meanwhile); kResourceExhausted, kInternal (may be tried again);
  // kDataLoss (its bytes are lost: no try will help).
  Result<void> make_durable(const Digest& digest);
  // Maps a whole blob. Errors: kNotFound, kResourceExhausted (more than bytes_max).
  Result<MappedFile> map(const Digest& digest, std::uint64_t bytes_max = UINT64_MAX) const;
  // The right to take blobs out; none while a backup holds them (blob_folder.h).
  std::optional<DeletionTurn> begin_deletion() const;
  // Takes a blob out of its place and returns where it lies now, for recycle(); none if there is no
  // such blob. Fast: a rename. Readers that opened it keep their copy.
  std::optional<std::filesystem::path> take_out(const Digest& digest);
  // Takes over files from take_out(): each is kept for its blocks if few are, else deleted.
  // Makes durable first that they are no blobs any more: after a power failure none may come back
  // under its old name with the bytes of another.
  void recycle(const std::vector<std::filesystem::path>& files);

  // A spare file of exactly this size, opened for writing, and its path; it is the caller's.
  std::optional<std::pair<UniqueFd, std::filesystem::path>> take_spare(std::uint64_t bytes);
  // Where it lies now; make_durable() and take_out() move it.
  std::filesystem::path path_of(const Digest& digest) const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct Books;
  BlobStore(std::filesystem::path folder, Disk& disk);

  // A spare, if it is large enough and not too many are there; else it is deleted.
  void keep_spare(const std::filesystem::path& file);
  std::filesystem::path place_of(const Digest& digest) const;
  std::filesystem::path fresh_place_of(const Digest& digest) const;
  Result<void> move_into_place(const std::filesystem::path& file, const Digest& digest);
  Result<void> rename_into_place(const std::filesystem::path& file, const Digest& digest);
  Result<void> take_up_fresh();
  // Makes the name of a blob in its place safe; after an error it is in doubt.
  Result<void> sync_place(const Digest& digest);
  bool is_in_doubt(const Digest& digest) const;
  // The fsync of a fresh blob failed: a start must not take it up, nor another fsync save it.
  void doubt_fresh(const Digest& digest);
  // Writes a blob in doubt anew, from its bytes if they are still right.
  Result<void> write_anew(const Digest& digest);
  // Its bytes are safe under its name.
  void end_doubt(const Digest& digest);
  // These two require the lock. The first deletes what lies elsewhere of the same blob.
  void note_doubt(const Digest& digest, const std::filesystem::path& path);
  std::filesystem::path path_locked(const Digest& digest) const;
  Result<void> copy_verified(const std::filesystem::path& from, const std::filesystem::path& to,
                             const Digest& digest) const;

  std::filesystem::path folder_;
  Disk* disk_;
  // Fresh blobs and spare files, behind a leaf mutex; apart so that a BlobStore can be moved.
  std::shared_ptr<Books> books_;
};

}  // namespace mh::server
