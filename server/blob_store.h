// Blobs by SHA-256 on disk: DIR/ab/<hex>. A blob appears whole or not at all (temporary name,
// fsync, rename, fsync of the folder), and its name is its content, so a file that exists is right.
// Used by uploads, the aggregation runner, the job and data set services and GET /blob.
// Threads: every member may be called from any thread; all of them may block on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::server {

// A blob opened for reading.
struct OpenBlob {
  UniqueFd file;
  std::uint64_t bytes = 0;
};

class BlobStore {
 public:
  // Makes the folder if need be and removes temporary files that a crash left behind.
  // Errors: kInternal (the folder cannot be used).
  static Result<BlobStore> open(std::filesystem::path folder);

  bool contains(const Digest& digest) const;
  // Makes sure that a blob that contains() has seen is still there after a power failure: another
  // thread may have renamed it into place a moment ago.
  Result<void> settle(const Digest& digest) const;
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
  // Takes a blob out of its place and returns where it lies now, to be deleted by the caller; none
  // if there is no such blob. Fast: a rename.
  std::optional<std::filesystem::path> take_out(const Digest& digest);
  // Removes a blob; one that is not there is no error. Readers that opened it keep their copy.
  void remove(const Digest& digest);

  std::filesystem::path path_of(const Digest& digest) const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  explicit BlobStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
};

// errno_error(), which tells of a full disk what to do about it.
Error disk_error(std::string_view doing, const std::filesystem::path& path, int error_number);
// Writes all bytes at an offset. Errors: kResourceExhausted (disk full), kInternal.
Result<void> write_fully(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes,
                         const std::filesystem::path& file);
// Reads exactly `bytes.size()` at an offset; Errors: kDataLoss when the file ends before.
Result<void> read_fully(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                        const std::filesystem::path& file);

}  // namespace mh::server
