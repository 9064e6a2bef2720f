// See work_cache.h.
#include "client/daemon/work_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "proto/base/file.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartSuffix = ".part";
constexpr auto kPartAgeMax = std::chrono::hours(24);

// True for a partial download that is worth going on with.
bool is_fresh_part(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (!name.ends_with(kPartSuffix)) return false;
  if (!Digest::from_hex(std::string_view(name).substr(0, name.size() - kPartSuffix.size())))
    return false;
  std::error_code error;
  return fs::file_time_type::clock::now() - entry.last_write_time(error) < kPartAgeMax && !error;
}

}  // namespace

WorkCache::WorkCache(fs::path folder, std::uint64_t bytes_max)
    : folder_(std::move(folder)), bytes_max_(bytes_max) {
  struct Found {
    Digest digest;
    std::uint64_t bytes;
    std::int64_t used;
  };
  std::vector<Found> found;
  std::vector<fs::path> foreign;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    if (is_fresh_part(entry)) continue;
    const auto digest = Digest::from_hex(entry.path().filename().string());
    struct stat info {};
    if (!digest.has_value() || ::lstat(entry.path().c_str(), &info) != 0 ||
        !S_ISREG(info.st_mode)) {
      foreign.push_back(entry.path());
      continue;
    }
    found.push_back({*digest, static_cast<std::uint64_t>(info.st_size),
                     static_cast<std::int64_t>(std::max(info.st_atime, info.st_mtime))});
  }
  for (const fs::path& path : foreign) fs::remove(path, error);
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.used < b.used; });
  for (const Found& blob : found) insert(blob.digest, blob.bytes, false);
}

void WorkCache::insert(const Digest& digest, std::uint64_t bytes, bool is_verified) {
  by_use_.push_back(digest);
  entries_[digest] = Entry{bytes, is_verified, std::prev(by_use_.end())};
  bytes_ += bytes;
}

bool WorkCache::needs_verification(const Digest& digest) const {
  const auto found = entries_.find(digest);
  return found != entries_.end() && !found->second.is_verified;
}

void WorkCache::set_verified(const Digest& digest) {
  if (const auto found = entries_.find(digest); found != entries_.end())
    found->second.is_verified = true;
}

Status WorkCache::add(const Digest& digest) {
  struct stat info {};
  if (::stat(path(digest).c_str(), &info) != 0)
    return errno_error("cannot look at", path(digest), errno);
  if (const auto found = entries_.find(digest); found != entries_.end()) {
    bytes_ -= found->second.bytes;
    by_use_.erase(found->second.place);
    entries_.erase(found);
  }
  insert(digest, static_cast<std::uint64_t>(info.st_size), true);
  return {};
}

void WorkCache::touch(const Digest& digest) {
  if (const auto found = entries_.find(digest); found != entries_.end())
    by_use_.splice(by_use_.end(), by_use_, found->second.place);
}

void WorkCache::remove(const Digest& digest) {
  const auto found = entries_.find(digest);
  if (found == entries_.end()) return;
  bytes_ -= found->second.bytes;
  by_use_.erase(found->second.place);
  entries_.erase(found);
  ::unlink(path(digest).c_str());
}

std::vector<Digest> WorkCache::shrink(const std::function<bool(const Digest&)>& is_needed) {
  std::vector<Digest> dropped;
  for (auto place = by_use_.begin(); place != by_use_.end() && bytes_ > bytes_max_;) {
    const Digest digest = *place++;
    if (is_needed(digest)) continue;
    remove(digest);
    dropped.push_back(digest);
  }
  return dropped;
}

std::set<Digest> WorkCache::digests() const {
  std::set<Digest> digests;
  for (const auto& [digest, entry] : entries_) digests.insert(digest);
  return digests;
}

}  // namespace mh::client
