// See outbox.h.
#include "client/daemon/outbox.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "proto/base/file.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kMode = 0600;

// What keeps the file at `path` from being the update; empty: nothing.
std::string problem_with(const fs::path& path, std::uint64_t bytes) {
  // lstat, and not open: opening a fifo or a device would already be a step too far.
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return "is not there";
  if (!S_ISREG(info.st_mode)) return "is no plain file";
  if (info.st_nlink != 1) return "has other names";
  if ((info.st_mode & 07777) != kMode) return "has other rights than it was made with";
  if (static_cast<std::uint64_t>(info.st_size) != bytes)
    return "has " + std::to_string(info.st_size) + " bytes, the trainer says " +
           std::to_string(bytes);
  return {};
}

}  // namespace

Status Outbox::prepare(ResultId result, std::uint64_t bytes_max) {
  const fs::path file = path(result);
  std::error_code error;
  fs::remove_all(file, error);
  const UniqueFd made(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
  if (!made.is_open()) return errno_error("cannot create", file, errno);
  bytes_max_[result] = bytes_max;
  return {};
}

std::uint64_t Outbox::largest_bytes() const {
  std::uint64_t largest = 0;
  for (const auto& [result, bytes_max] : bytes_max_) largest = std::max(largest, bytes_max);
  return largest;
}

Status Outbox::take(ResultId result, std::uint64_t bytes, const fs::path& target) {
  const auto found = bytes_max_.find(result);
  if (found == bytes_max_.end())
    return fail(Errc::kInvalidArgument, "update " + to_string(result) + " was not asked for");
  const std::uint64_t bytes_max = found->second;
  bytes_max_.erase(found);
  const fs::path file = path(result);
  std::error_code error;
  if (bytes == 0 || bytes > bytes_max) {
    fs::remove_all(file, error);
    return fail(Errc::kInvalidArgument,
                "update " + to_string(result) + " has " + std::to_string(bytes) +
                    " bytes, the most for these parameters is " + std::to_string(bytes_max));
  }
  if (::rename(file.c_str(), target.c_str()) != 0)
    return errno_error("cannot take the update", file, errno);
  const std::string problem = problem_with(target, bytes);
  if (problem.empty()) return {};
  fs::remove_all(target, error);
  return fail(Errc::kInvalidArgument, "the file of update " + to_string(result) + " " + problem);
}

void Outbox::drop(ResultId result) {
  if (bytes_max_.erase(result) == 0) return;
  std::error_code error;
  fs::remove_all(path(result), error);
}

void Outbox::clear() {
  bytes_max_.clear();
  std::error_code error;
  // Links are removed, not followed.
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    fs::remove_all(entry->path(), ignored);
  }
}

}  // namespace mh::client
