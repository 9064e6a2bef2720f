// See disk.h.
#include "server/disk.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

namespace mh::server {
namespace {

class PosixDisk final : public Disk {
 public:
  int open(const std::filesystem::path& path, int flags, unsigned mode) override {
    return ::open(path.c_str(), flags, mode);
  }
  ssize_t write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
    return ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  }
  int sync(int descriptor) override { return ::fsync(descriptor); }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return ::rename(from.c_str(), to.c_str());
  }
  Result<std::uint64_t> free_bytes(const std::filesystem::path& path) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) return errno_error("cannot look at", path, errno);
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  }
};

}  // namespace

Disk& posix_disk() {
  static PosixDisk disk;
  return disk;
}

bool means_no_room(int error_number) {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

Error disk_error(std::string_view doing, const std::filesystem::path& path, int error_number) {
  Error error = errno_error(doing, path, error_number);
  if (error.code == Errc::kResourceExhausted) {
    error.message += "; free some space on the server and try again";
  }
  return error;
}

Result<void> write_fully(Disk& disk, int descriptor, std::uint64_t offset,
                         std::span<const std::byte> bytes, const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written = disk.write(descriptor, bytes, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_error("cannot write", file, errno);
    // Nothing written and no reason given: trying on would never end.
    if (written == 0) return disk_error("cannot write", file, ENOSPC);
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> read_fully(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                        const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return errno_error("cannot read", file, errno);
    }
    if (count == 0) {
      return fail(Errc::kDataLoss,
                  file.string() + " ends " + std::to_string(bytes.size()) + " bytes too early");
    }
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> sync_folder(Disk& disk, const std::filesystem::path& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return errno_error("cannot open folder", folder, errno);
  if (disk.sync(fd.get()) != 0) return disk_error("cannot fsync folder", folder, errno);
  return {};
}

}  // namespace mh::server
