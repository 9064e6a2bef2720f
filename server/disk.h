// The calls by which the server writes its folders, as one small interface: so that a test can put
// a disk that fails in place of the real one, and so that failures are noticed where they happen
// (server/disk_watch). Used by BlobStore and UploadStore; SQLite has its own way to the disk.
//
// Each member does what the system call of its name does, returns what that returns and leaves the
// reason in errno. Reading, renaming away and deleting do not go through it: they need no room.
// Threads: any.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "proto/base/file.h"
#include "proto/base/result.h"

namespace mh::server {

class Disk {
 public:
  virtual ~Disk() = default;

  // open(2); used for files that are to be written.
  virtual int open(const std::filesystem::path& path, int flags, unsigned mode) = 0;
  // pwrite(2): may write less than it is given.
  virtual ssize_t write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) = 0;
  // fsync(2), of a file or a folder. After an error nothing that was written to it since the last
  // success is safe, whatever a later fsync says: the kernel reports each loss once.
  virtual int sync(int descriptor) = 0;
  // rename(2), to make a file known under its name.
  virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  // Bytes of the file system of `path` that this process may still fill.
  // Errors: kInternal, kNotFound.
  virtual Result<std::uint64_t> free_bytes(const std::filesystem::path& path) = 0;
};

// The real one.
Disk& posix_disk();

// errno_error(), which tells of a full disk what to do about it.
Error disk_error(std::string_view doing, const std::filesystem::path& path, int error_number);
// True for an errno that means that there is no room: disk, quota or a file's limit.
bool means_no_room(int error_number);
// Writes all bytes at an offset. Errors: kResourceExhausted (no room), kInternal.
Result<void> write_fully(Disk& disk, int descriptor, std::uint64_t offset,
                         std::span<const std::byte> bytes, const std::filesystem::path& file);
// Reads exactly `bytes.size()` at an offset. Errors: kDataLoss when the file ends before.
Result<void> read_fully(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                        const std::filesystem::path& file);
// Makes the names in a folder safe.
Result<void> sync_folder(Disk& disk, const std::filesystem::path& folder);

}  // namespace mh::server
