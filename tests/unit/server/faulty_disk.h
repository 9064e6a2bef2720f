// A disk that fails when a test says so: no room, an error, short writes, an fsync that fails once.
// Everything else goes to the real one.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>

#include "server/disk.h"

namespace mh::server {

class FaultyDisk final : public Disk {
 public:
  // errno of every call of that kind; 0: it works.
  std::atomic<int> open_error{0};
  std::atomic<int> write_error{0};
  std::atomic<int> sync_error{0};
  std::atomic<int> rename_error{0};
  // How many calls of sync() fail before it works again; used with sync_error.
  std::atomic<int> sync_failures{std::numeric_limits<int>::max()};
  // Successful calls of sync() before the failures begin.
  std::atomic<int> syncs_before{0};
  // A write takes at most so many bytes, and fails with write_error once so many were written.
  std::atomic<std::size_t> piece_bytes_max{std::numeric_limits<std::size_t>::max()};
  std::atomic<std::uint64_t> room{std::numeric_limits<std::uint64_t>::max()};
  std::atomic<std::uint64_t> free{1'000'000'000};

  void heal() {
    open_error = write_error = sync_error = rename_error = 0;
    room = std::numeric_limits<std::uint64_t>::max();
    piece_bytes_max = std::numeric_limits<std::size_t>::max();
  }

  int open(const std::filesystem::path& path, int flags, unsigned mode) override {
    return fails(open_error) ? -1 : posix_disk().open(path, flags, mode);
  }
  ssize_t write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
    const std::uint64_t left = room;
    if (fails(write_error)) return -1;
    if (left == 0) return errno = ENOSPC, -1;
    const std::size_t count = std::min<std::uint64_t>({bytes.size(), piece_bytes_max, left});
    const ssize_t written = posix_disk().write(descriptor, bytes.first(count), offset);
    if (written > 0) room = left - static_cast<std::uint64_t>(written);
    return written;
  }
  int sync(int descriptor) override {
    if (sync_error != 0 && syncs_before-- <= 0 && sync_failures-- > 0)
      return errno = sync_error, -1;
    return posix_disk().sync(descriptor);
  }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return fails(rename_error) ? -1 : posix_disk().rename(from, to);
  }
  Result<std::uint64_t> free_bytes(const std::filesystem::path&) override { return free.load(); }

 private:
  static bool fails(int error) {
    if (error != 0) errno = error;
    return error != 0;
  }
};

}  // namespace mh::server
