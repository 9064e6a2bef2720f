// See upload_store.h. Which uploads there are; upload_append.cpp makes them grow.
#include "server/upload_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "server/secrets.h"
#include "server/upload_store_impl.h"

namespace mh::server {
namespace {

KillPoint after_create("upload.after_create");
KillPoint before_keep("upload.before_keep");
KillPoint after_keep("upload.after_keep");

}  // namespace

Result<std::unique_ptr<UploadStore>> UploadStore::open(std::filesystem::path folder,
                                                       BlobStore& blobs, UploadLimits limits,
                                                       TimePoint now, Disk& disk) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return disk_error("cannot create", folder, error.value());
  std::unique_ptr<UploadStore> store(new UploadStore(std::move(folder), blobs, limits, disk));
  MH_TRY_VOID(store->load(now));
  return store;
}

Result<void> UploadStore::load(TimePoint now) {
  std::error_code error;
  std::vector<std::filesystem::path> infos;
  std::vector<std::filesystem::path> others;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    (entry.path().extension() == ".info" ? infos : others).push_back(entry.path());
  }
  if (error) return errno_error("cannot list", folder_, error.value());
  for (const auto& info : infos) {
    if (auto loaded = load_one(info, now); !loaded) {
      log_warn("unfinished upload dropped",
               {{"file", info.filename().string()}, {"why", loaded.error().message}});
      remove_files(info.stem().string());
    }
  }
  for (const auto& other : others) {
    if (!uploads_.contains(other.stem().string())) ::unlink(other.c_str());
  }
  return {};
}

Result<void> UploadStore::load_one(const std::filesystem::path& info_file, TimePoint now) {
  MH_TRY(const UploadInfo info, read_upload_info(info_file));
  auto upload = std::make_shared<Upload>();
  upload->id = info_file.stem().string();
  upload->owner = info.owner;
  upload->length = info.length;
  upload->digest = info.digest;
  upload->expires = info.expires;
  upload->expires_in_info = info.expires;
  if (info.expires <= now) return fail(Errc::kDataLoss, "expired");
  struct stat status {};
  const auto data = data_path(upload->id);
  if (::stat(data.c_str(), &status) != 0) return errno_error("cannot look at", data, errno);
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (bytes > info.length) return fail(Errc::kDataLoss, "longer than announced");
  // Rule 2: the server died before it could publish; the last byte, sent again, does it.
  upload->offset = std::min(bytes, info.length - 1);
  uploads_.emplace(upload->id, std::move(upload));
  return {};
}

Result<UploadStatus> UploadStore::create(std::string_view owner, std::uint64_t length,
                                         const Digest& digest, TimePoint now) {
  if (length == 0) return fail(Errc::kInvalidArgument, "an upload of 0 bytes is not accepted");
  if (owner.find('\n') != std::string_view::npos) {
    return fail(Errc::kInvalidArgument, "the owner of an upload must be named in one line");
  }
  if (length > limits_.bytes_max) {
    return fail(Errc::kResourceExhausted, "upload of " + std::to_string(length) +
                                              " bytes, limit is " +
                                              std::to_string(limits_.bytes_max));
  }
  if (auto present = blobs_.size(digest);
      !digest.is_zero() && present && present.value() == length) {
    const bool may_be_fresh = limits_.publishes_fresh && limits_.publishes_fresh(owner);
    Result<void> safe = may_be_fresh ? Result<void>() : blobs_.make_durable(digest);
    if (safe) safe = blobs_.settle(digest);
    if (safe) {
      return UploadStatus{random_hex(16), length, length, now + limits_.lifetime, true, digest};
    }
    // One in doubt is taken again.
    if (safe.error().code != Errc::kDataLoss) return safe.error();
  }
  supersede(owner, length, digest, now);
  MH_TRY(const std::shared_ptr<Upload> upload, admit(owner, length, digest, now));
  if (auto made = make_data_file(*upload); !made) {
    forget(upload->id);
    return made.error();
  }
  after_create.pass();
  const std::lock_guard lock(mutex_);
  upload->is_busy = false;
  return upload->status();
}

Result<UploadStatus> UploadStore::resume(std::string_view owner, std::uint64_t length,
                                         const Digest& digest, TimePoint now) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Upload> best;
  for (const auto& [id, upload] : uploads_) {
    if (upload->is_busy || upload->expires <= now || !upload->is_of(owner, length, digest)) {
      continue;
    }
    if (best == nullptr || upload->offset > best->offset) best = upload;
  }
  if (best == nullptr) return fail(Errc::kNotFound, "no unfinished upload of this blob");
  best->expires = now + limits_.lifetime;
  return best->status();
}

void UploadStore::supersede(std::string_view owner, std::uint64_t length, const Digest& digest,
                            TimePoint now) {
  std::vector<std::string> superseded;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, upload] : uploads_) {
      const TimePoint touched = upload->expires - limits_.lifetime;
      if (upload->is_busy || !upload->is_of(owner, length, digest)) continue;
      if (touched + limits_.supersede_after > now) continue;
      upload->is_busy = true;
      superseded.push_back(id);
    }
  }
  for (const std::string& id : superseded) forget(id);
}

Result<std::shared_ptr<UploadStore::Upload>> UploadStore::admit(std::string_view owner,
                                                                std::uint64_t length,
                                                                const Digest& digest,
                                                                TimePoint now) {
  auto upload = std::make_shared<Upload>();
  upload->id = random_hex(16);
  upload->owner = owner;
  upload->length = length;
  upload->digest = digest;
  upload->expires = now + limits_.lifetime;
  upload->is_busy = true;
  upload->hash_is_current = true;
  const std::lock_guard lock(mutex_);
  std::uint32_t count = 0;
  std::uint64_t bytes = length;
  for (const auto& [id, other] : uploads_) {
    if (other->owner != owner || other->expires <= now) continue;
    count += 1;
    bytes += other->length;
  }
  if (count >= limits_.count_per_owner_max || bytes > limits_.bytes_per_owner_max) {
    return fail(Errc::kResourceExhausted,
                std::to_string(count) + " unfinished uploads of " + upload->owner + " and " +
                    std::to_string(bytes) + " bytes with this one, limits are " +
                    std::to_string(limits_.count_per_owner_max) + " and " +
                    std::to_string(limits_.bytes_per_owner_max) + "; finish or delete one first");
  }
  uploads_.emplace(upload->id, upload);
  return upload;
}

Result<void> UploadStore::make_data_file(const Upload& upload) const {
  const auto data = data_path(upload.id);
  // Blocks that are there already: longer than what has arrived, which does no harm.
  if (const auto spare = blobs_.take_spare(upload.length)) {
    if (::rename(spare->second.c_str(), data.c_str()) == 0) return {};
    ::unlink(spare->second.c_str());
  }
  const UniqueFd file(disk_.open(data, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.is_open()) return disk_error("cannot create", data, errno);
  return {};
}

Result<void> UploadStore::write_info(Upload& upload) const {
  // After a restart the length of the file is what has arrived.
  const auto data = data_path(upload.id);
  if (::truncate(data.c_str(), static_cast<off_t>(upload.offset)) != 0)
    return disk_error("cannot cut", data, errno);
  const auto info = info_path(upload.id);
  const UniqueFd file(disk_.open(info, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.is_open()) return disk_error("cannot create", info, errno);
  const std::string text = upload_info_text(upload.info());
  Result<void> written = write_fully(disk_, file.get(), 0, as_bytes(text), info);
  // Half of one would be dropped by a start anyway, the upload with it.
  if (!written) ::unlink(info.c_str());
  if (written) upload.expires_in_info = upload.expires;
  return written;
}

Result<void> UploadStore::keep(const std::string& id, std::string_view owner, TimePoint now) {
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(mutex_);
    upload = claim(id, owner);
    if (upload == nullptr || upload->expires <= now) return no_such_upload(id);
    if (upload->is_busy) return fail(Errc::kAborted, "upload " + id + " is being appended to");
    if (upload->expires_in_info != TimePoint{}) return {};
    upload->is_busy = true;
  }
  before_keep.pass();
  Result<void> written = write_info(*upload);
  after_keep.pass();
  const std::lock_guard lock(mutex_);
  upload->is_busy = false;
  return written;
}

Error UploadStore::no_such_upload(const std::string& id) {
  return Error{Errc::kNotFound,
               "no upload " + id.substr(0, 40) + ": finished, expired or never created"};
}

std::shared_ptr<UploadStore::Upload> UploadStore::claim(const std::string& id,
                                                        std::string_view owner) const {
  const auto found = uploads_.find(id);
  // Somebody else's upload looks exactly like none.
  if (found == uploads_.end() || found->second->owner != owner) return nullptr;
  return found->second;
}

Result<UploadStatus> UploadStore::find(const std::string& id, std::string_view owner,
                                       TimePoint now) const {
  const std::lock_guard lock(mutex_);
  const auto upload = claim(id, owner);
  if (upload == nullptr || upload->expires <= now) return no_such_upload(id);
  return upload->status();
}

Result<void> UploadStore::remove(const std::string& id, std::string_view owner) {
  {
    const std::lock_guard lock(mutex_);
    const auto upload = claim(id, owner);
    if (upload == nullptr) return no_such_upload(id);
    if (upload->is_busy) return fail(Errc::kAborted, "upload " + id + " is being appended to");
    upload->is_busy = true;
  }
  forget(id);
  return {};
}

std::size_t UploadStore::remove_expired(TimePoint now) {
  std::vector<std::string> expired;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, upload] : uploads_) {
      if (upload->is_busy || upload->expires > now) continue;
      upload->is_busy = true;
      expired.push_back(id);
    }
  }
  for (const std::string& id : expired) forget(id);
  return expired.size();
}

std::size_t UploadStore::count() const {
  const std::lock_guard lock(mutex_);
  return uploads_.size();
}

void UploadStore::forget(const std::string& id) {
  remove_files(id);
  const std::lock_guard lock(mutex_);
  uploads_.erase(id);
}

void UploadStore::remove_files(const std::string& id) const {
  ::unlink(info_path(id).c_str());
  ::unlink(data_path(id).c_str());
}

}  // namespace mh::server
