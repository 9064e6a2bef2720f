#include "proto/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/kill_point.h"

namespace mh {
namespace fs = std::filesystem;
namespace {

KillPoint before_fsync("file.before_fsync");
KillPoint before_rename("file.before_rename");
KillPoint after_rename("file.after_rename");

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
int UniqueFd::release() { return std::exchange(fd_, -1); }
void UniqueFd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Error errno_error(std::string_view doing, const fs::path& path, int error_number) {
  Errc code = Errc::kInternal;
  if (error_number == ENOENT) code = Errc::kNotFound;
  if (error_number == EACCES || error_number == EPERM) code = Errc::kPermissionDenied;
  if (error_number == EEXIST) code = Errc::kAlreadyExists;
  // Too many files open: gone in a moment.
  if (error_number == EMFILE || error_number == ENFILE) code = Errc::kUnavailable;
  std::string reason = std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) {
    code = Errc::kResourceExhausted;
    reason = "disk full (" + reason + ")";
  }
  return fail(code, std::string(doing) + " " + path.string() + ": " + reason);
}

Result<MappedFile> MappedFile::open(const fs::path& path, std::uint64_t bytes_max) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_error("cannot open", path, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_error("cannot stat", path, errno);
  if (!S_ISREG(info.st_mode)) return fail(Errc::kInvalidArgument, path.string() + " is not a file");
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > bytes_max)
    return fail(Errc::kResourceExhausted, path.string() + " has " + std::to_string(size) +
                                              " bytes, the limit is " + std::to_string(bytes_max));
  MappedFile file;
  if (size == 0) return file;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return errno_error("cannot map", path, errno);
  file.bytes_ = {static_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
  return file;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}
MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

Result<std::string> read_file(const fs::path& path, std::uint64_t bytes_max) {
  MH_TRY(const auto file, MappedFile::open(path, bytes_max));
  return std::string(as_text(file.bytes()));
}

Status write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno_error("cannot write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Status fsync_dir(const fs::path& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return errno_error("cannot open folder", folder, errno);
  if (::fsync(fd.get()) != 0) return errno_error("cannot fsync folder", folder, errno);
  return {};
}

Status publish_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_error("cannot rename to", to, errno);
  const fs::path folder = to.parent_path();
  return fsync_dir(folder.empty() ? fs::path(".") : folder);
}

Status write_file_atomically(const fs::path& path, std::string_view content, unsigned mode) {
  fs::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid());
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.is_open()) return errno_error("cannot create", temporary, errno);
  Status done = write_all(fd.get(), as_bytes(content), temporary);
  if (done && ::fchmod(fd.get(), mode) != 0) done = errno_error("cannot chmod", temporary, errno);
  before_fsync.pass();
  if (done && ::fsync(fd.get()) != 0) done = errno_error("cannot fsync", temporary, errno);
  fd.reset();
  before_rename.pass();
  if (done) done = publish_file(temporary, path);
  after_rename.pass();
  if (!done) ::unlink(temporary.c_str());
  return done;
}

}  // namespace mh
