// See disk_watch.h.
#include "server/disk_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proto/base/log.h"
#include "proto/base/options.h"

namespace mh::server {
namespace {

constexpr std::size_t kProbeBytes = 64 * 1024;
// BlobStore removes what a crash leaves under such a name.
constexpr std::string_view kProbeName = "tmp-probe";

// Errors that speak of the disk; others (a file that is gone, too many open files) do not.
bool is_of_disk(int error_number) {
  return means_no_room(error_number) || error_number == EIO || error_number == EROFS;
}

}  // namespace

DiskWatch::DiskWatch(Disk& behind, std::filesystem::path folder, std::uint64_t reserve_bytes)
    : behind_(behind), folder_(std::move(folder)), reserve_bytes_(reserve_bytes) {}

template <class Number>
Number DiskWatch::noted(Number result, std::string_view doing) {
  if (result >= 0 || !is_of_disk(errno)) return result;
  const int why = errno;
  {
    const std::lock_guard lock(mutex_);
    set(means_no_room(why) ? Trouble::kFull : Trouble::kError,
        std::string(doing) + ": " + std::strerror(why));
  }
  errno = why;
  return result;
}

int DiskWatch::open(const std::filesystem::path& path, int flags, unsigned mode) {
  return noted(behind_.open(path, flags, mode), "open");
}
ssize_t DiskWatch::write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) {
  return noted(behind_.write(descriptor, bytes, offset), "write");
}
int DiskWatch::sync(int descriptor) { return noted(behind_.sync(descriptor), "fsync"); }
int DiskWatch::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return noted(behind_.rename(from, to), "rename");
}
Result<std::uint64_t> DiskWatch::free_bytes(const std::filesystem::path& path) {
  return behind_.free_bytes(path);
}

std::string DiskWatch::probe() {
  const std::filesystem::path path = folder_ / kProbeName;
  const UniqueFd file(behind_.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot create", path, errno).message;
  static constexpr std::array<std::byte, kProbeBytes> kBytes{};
  Result<void> done = write_fully(behind_, file.get(), 0, kBytes, path);
  if (done && behind_.sync(file.get()) != 0) done = disk_error("cannot fsync", path, errno);
  ::unlink(path.c_str());
  return done ? std::string() : done.error().message;
}

void DiskWatch::look() {
  const auto free = behind_.free_bytes(folder_);
  bool has_failed = false;
  {
    const std::lock_guard lock(mutex_);
    if (free) free_bytes_ = *free;
    if (!free) {
      set(Trouble::kError, free.error().message);
      return;
    }
    if (free_bytes_ < reserve_bytes_) {
      if (trouble_ == Trouble::kNone) set(Trouble::kFull, {});
      return;
    }
    if (trouble_ == Trouble::kNone || free_bytes_ < reserve_bytes_ + reserve_bytes_ / 4) return;
    has_failed = !cause_.empty();
  }
  if (has_failed && !probe().empty()) return;
  const std::lock_guard lock(mutex_);
  if (is_stalled_) return;
  set(Trouble::kNone, {});
}

void DiskWatch::set(Trouble trouble, std::string cause) {
  const bool has_changed = trouble != trouble_;
  trouble_ = trouble;
  cause_ = std::move(cause);
  is_well_ = trouble_ == Trouble::kNone;
  if (!has_changed) return;
  // It may have changed since the last look.
  if (const auto free = behind_.free_bytes(folder_)) free_bytes_ = *free;
  if (trouble == Trouble::kNone) {
    log_info("no longer degraded: the disk has room and works",
             {{"folder", folder_.string()}, {"free", format_byte_size(free_bytes_)}});
    return;
  }
  log_error("degraded: " + sentence(), {{"folder", folder_.string()}});
}

std::string DiskWatch::sentence() const {
  if (trouble_ == Trouble::kNone) return {};
  std::string text = trouble_ == Trouble::kFull ? "disk full: " : "disk error: ";
  if (!cause_.empty()) text += cause_ + "; ";
  text += format_byte_size(free_bytes_) + " free, " + format_byte_size(reserve_bytes_) +
          " are kept in reserve; ";
  text += trouble_ == Trouble::kFull ? "free some space on the server's disk"
                                     : "look at the server's disk and its kernel log";
  return text + "; no uploads and no new work until then, the server goes on by itself";
}

DiskState DiskWatch::state() const {
  const std::lock_guard lock(mutex_);
  return DiskState{trouble_ != Trouble::kNone, is_stalled_, free_bytes_, reserve_bytes_,
                   sentence()};
}

Result<void> DiskWatch::check_room() const {
  if (is_well_) return {};
  const DiskState now = state();
  if (!now.is_degraded) return {};
  return fail(Errc::kUnavailable, "the server is degraded: " + now.sentence);
}

Result<void> DiskWatch::check_store() const {
  if (is_well_) return {};
  const DiskState now = state();
  if (!now.is_stalled) return {};
  return fail(Errc::kUnavailable, "the server is degraded: " + now.sentence);
}

void DiskWatch::store_stalls(bool is_stalled) {
  const std::lock_guard lock(mutex_);
  if (is_stalled_ == is_stalled) return;
  is_stalled_ = is_stalled;
  // What ends it is a look.
  if (is_stalled) set(Trouble::kFull, "the database cannot be written");
}

}  // namespace mh::server
