// Files: whole reads with a limit, writes that appear whole or not at all, memory maps.
// Errors name what was done, the path and the reason; a full disk is kResourceExhausted.
// Threads: any; every call may block on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proto/base/result.h"

namespace mh {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// A read-only memory map of a whole file; empty for an empty file.
class MappedFile {
 public:
  // Errors: kNotFound, kInternal, kResourceExhausted (larger than bytes_max).
  static Result<MappedFile> open(const std::filesystem::path& path,
                                 std::uint64_t bytes_max = UINT64_MAX);
  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

// The error for a failed system call.
Error errno_error(std::string_view doing, const std::filesystem::path& path, int error_number);

// Errors: kNotFound, kResourceExhausted (larger than bytes_max), kInternal.
Result<std::string> read_file(const std::filesystem::path& path, std::uint64_t bytes_max);

// Temporary name beside it, write, fsync, rename, fsync of the folder. `mode` is exact.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content,
                             unsigned mode = 0644);
// Renames a finished file into place and fsyncs the folder.
Status publish_file(const std::filesystem::path& from, const std::filesystem::path& to);
Status fsync_dir(const std::filesystem::path& folder);
// Writes all bytes at the present position, whatever short writes happen.
Status write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

}  // namespace mh
