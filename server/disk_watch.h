// Is there room on the disk, and does it work? Stands between the stores and the disk, notes what
// the disk refuses, and looks at the free space now and then. The doors ask it before they take
// anything that must be written.
//
//   BlobStore, UploadStore -> DiskWatch -> posix_disk()
//   App: look() every kLookInterval     SqliteStore: store_stalls()
//   refusal() <- uploads, new work, jobs; state() <- GetStatus, /metrics, /healthz
//
// Rules
// 1. Less than `reserve_bytes` free, or a write refused for want of room: degraded, "disk full". A
//    write, fsync or rename that fails otherwise: degraded, "disk error". *Rationale:* the reserve
//    is for the database: reports of work under way still find room, so that what hosts have
//    computed is not lost and the steps that free space can end.
// 2. It ends by itself, at a look, when there is reserve_bytes and a quarter more, and a small file
//    can be written and fsynced. *Rationale:* the quarter keeps it from coming and going; a disk
//    that refused is believed only after it has worked.
// 3. Each change is logged once, with the path, what is free and what to do.
// Threads: any (one leaf mutex). look() blocks on the disk; call it from one place.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "server/disk.h"

namespace mh::server {

// What the server says about its disk.
struct DiskState {
  bool is_degraded = false;
  // The database cannot be written at all: nothing is decided until it can.
  bool is_stalled = false;
  std::uint64_t free_bytes = 0;
  std::uint64_t reserve_bytes = 0;
  // "disk full: 3.1 MB free, 256.0 MB are kept in reserve; …"; empty: all is well. Without paths.
  std::string sentence;
};

class DiskWatch final : public Disk {
 public:
  static constexpr std::chrono::seconds kLookInterval{1};
  // What a caller that is refused should wait.
  static constexpr std::chrono::seconds kRetryAfter{10};

  // `folder` must exist when look() is called. `behind` must outlive this.
  DiskWatch(Disk& behind, std::filesystem::path folder, std::uint64_t reserve_bytes);

  void look();
  DiskState state() const;
  // kUnavailable with the sentence while degraded: no room for blobs, no new work.
  Result<void> check_room() const;
  // kUnavailable while the database cannot be written: no decision at all.
  Result<void> check_store() const;
  // The store has had to put off a commit for want of room, or has made it after all.
  void store_stalls(bool is_stalled);
  const std::filesystem::path& folder() const { return folder_; }

  int open(const std::filesystem::path& path, int flags, unsigned mode) override;
  ssize_t write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override;
  int sync(int descriptor) override;
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  Result<std::uint64_t> free_bytes(const std::filesystem::path& path) override;

 private:
  enum class Trouble { kNone, kFull, kError };

  // Passes a result on; a failure is noted.
  template <class Number>
  Number noted(Number result, std::string_view doing);
  // Empty: a small file can be written.
  std::string probe();
  // Requires the lock.
  void set(Trouble trouble, std::string cause);
  std::string sentence() const;

  // Constant after construction.
  Disk& behind_;
  const std::filesystem::path folder_;
  const std::uint64_t reserve_bytes_;
  // True while all is well, so that the common answer takes no lock.
  std::atomic<bool> is_well_{true};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Trouble trouble_ = Trouble::kNone;
  // What the disk refused; empty: only the free space is too small.
  std::string cause_;
  bool is_stalled_ = false;
  std::uint64_t free_bytes_ = 0;
};

}  // namespace mh::server
