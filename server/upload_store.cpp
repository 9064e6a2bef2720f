// See upload_store.h.
#include "server/upload_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

#include "proto/base/bytes.h"
#include "proto/base/log.h"
#include "server/secrets.h"

namespace mh::server {
namespace {

// First line of an .info file; a later format gets another number.
constexpr std::string_view kInfoMagic = "manyhands-upload 1";

Error no_such_upload(const std::string& id) {
  return Error{Errc::kNotFound,
               "no upload " + id.substr(0, 40) + ": finished, expired or never created"};
}

}  // namespace

struct UploadStore::Upload {
  // Constant after creation.
  std::string id;
  std::string owner;
  std::uint64_t length = 0;
  Digest digest;
  // Guarded by mutex_.
  std::uint64_t offset = 0;
  TimePoint expires{};
  bool is_busy = false;
  // Owned by whoever made the upload busy.
  UniqueFd file;
  Sha256 hash;
  bool hash_is_current = false;

  UploadStatus status() const { return UploadStatus{id, offset, length, expires, false, digest}; }
};

Result<std::unique_ptr<UploadStore>> UploadStore::open(std::filesystem::path folder,
                                                       BlobStore& blobs, UploadLimits limits,
                                                       TimePoint now) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return errno_error("cannot create", folder, error.value());
  std::unique_ptr<UploadStore> store(new UploadStore(std::move(folder), blobs, limits));
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

Result<void> UploadStore::load_one(const std::filesystem::path& info, TimePoint now) {
  std::ifstream input(info);
  std::string magic;
  std::string owner;
  std::string hex;
  std::uint64_t length = 0;
  std::int64_t expires_ms = 0;
  std::getline(input, magic);
  input >> owner >> length >> hex >> expires_ms;
  if (!input || magic != kInfoMagic) return fail(Errc::kDataLoss, "unreadable");
  auto upload = std::make_shared<Upload>();
  upload->id = info.stem().string();
  upload->owner = owner;
  upload->length = length;
  MH_TRY(upload->digest, Digest::from_hex(hex));
  struct stat status {};
  const auto data = data_path(upload->id);
  upload->file = UniqueFd(::open(data.c_str(), O_RDWR | O_CLOEXEC));
  if (!upload->file.is_open() || ::fstat(upload->file.get(), &status) != 0) {
    return errno_error("cannot open", data, errno);
  }
  upload->offset = static_cast<std::uint64_t>(status.st_size);
  if (upload->offset > length) return fail(Errc::kDataLoss, "longer than announced");
  upload->expires = from_unix_ms(expires_ms);
  if (upload->expires <= now) return fail(Errc::kDataLoss, "expired");
  uploads_.emplace(upload->id, std::move(upload));
  return {};
}

Result<void> UploadStore::write_info(const Upload& upload) const {
  std::ostringstream text;
  text << kInfoMagic << '\n'
       << upload.owner << '\n'
       << upload.length << '\n'
       << upload.digest.hex() << '\n'
       << to_unix_ms(upload.expires) << '\n';
  const std::string content = std::move(text).str();
  const auto path = info_path(upload.id);
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot create", path, errno);
  return write_fully(file.get(), 0, as_bytes(content), path);
}

Result<UploadStatus> UploadStore::create(std::string_view owner, std::uint64_t length,
                                         const Digest& digest, TimePoint now) {
  if (length == 0) return fail(Errc::kInvalidArgument, "an upload of 0 bytes is not accepted");
  if (length > limits_.bytes_max) {
    return fail(Errc::kResourceExhausted, "upload of " + std::to_string(length) +
                                              " bytes, limit is " +
                                              std::to_string(limits_.bytes_max));
  }
  auto upload = std::make_shared<Upload>();
  upload->id = random_hex(16);
  upload->owner = owner;
  upload->length = length;
  upload->digest = digest;
  upload->expires = now + limits_.lifetime;
  upload->hash_is_current = true;
  if (auto present = blobs_.size(digest); present && present.value() == length) {
    UploadStatus status = upload->status();
    status.offset = length;
    status.is_complete = true;
    return status;
  }
  {
    const std::lock_guard lock(mutex_);
    std::uint32_t count = 0;
    std::uint64_t bytes = length;
    for (const auto& [id, other] : uploads_) {
      if (other->owner != owner) continue;
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
    upload->is_busy = true;
    uploads_.emplace(upload->id, upload);
  }
  const auto data = data_path(upload->id);
  upload->file = UniqueFd(::open(data.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  Result<void> written;
  if (!upload->file.is_open()) written = errno_error("cannot create", data, errno);
  if (written) written = write_info(*upload);
  if (!written) {
    forget(upload->id);
    return written.error();
  }
  const std::lock_guard lock(mutex_);
  upload->is_busy = false;
  return upload->status();
}

std::shared_ptr<UploadStore::Upload> UploadStore::claim(const std::string& id,
                                                        std::string_view owner) const {
  const auto found = uploads_.find(id);
  // Somebody else's upload looks exactly like none.
  if (found == uploads_.end() || found->second->owner != owner) return nullptr;
  return found->second;
}

Result<UploadStatus> UploadStore::find(const std::string& id, std::string_view owner) const {
  const std::lock_guard lock(mutex_);
  const auto upload = claim(id, owner);
  if (upload == nullptr) return no_such_upload(id);
  return upload->status();
}

Result<UploadStatus> UploadStore::append(const std::string& id, std::string_view owner,
                                         std::uint64_t offset, std::span<const std::byte> bytes,
                                         TimePoint now) {
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(mutex_);
    upload = claim(id, owner);
    if (upload == nullptr || upload->expires <= now) return no_such_upload(id);
    if (upload->is_busy) {
      return fail(Errc::kAborted, "upload " + id + ": another request is appending to it");
    }
    if (offset != upload->offset) {
      return fail(Errc::kAborted, "upload " + id + " stands at offset " +
                                      std::to_string(upload->offset) + ", not " +
                                      std::to_string(offset));
    }
    if (bytes.size() > upload->length - upload->offset) {
      return fail(Errc::kInvalidArgument, "upload " + id + ": " + std::to_string(bytes.size()) +
                                              " bytes at offset " + std::to_string(offset) +
                                              " go beyond its length " +
                                              std::to_string(upload->length));
    }
    upload->is_busy = true;
    upload->expires = now + limits_.lifetime;
  }
  Result<void> done = upload->hash_is_current ? Result<void>() : rebuild_hash(*upload);
  if (done) {
    done = write_fully(upload->file.get(), offset, bytes, data_path(id));
    // Take back a partial write, so that file, offset and hash agree.
    if (!done && ::ftruncate(upload->file.get(), static_cast<off_t>(offset)) != 0) {
      upload->hash_is_current = false;
    }
  }
  if (done) upload->hash.update(bytes);
  const bool is_whole = done && offset + bytes.size() == upload->length;
  if (is_whole) done = finish(*upload);
  if (!done && !is_whole) {
    const std::lock_guard lock(mutex_);
    upload->is_busy = false;
    return done.error();
  }
  if (is_whole) {
    UploadStatus status = upload->status();
    status.offset = upload->length;
    status.is_complete = true;
    forget(id);
    if (!done) return done.error();
    return status;
  }
  const std::lock_guard lock(mutex_);
  upload->offset = offset + bytes.size();
  upload->is_busy = false;
  return upload->status();
}

Result<void> UploadStore::finish(Upload& upload) {
  const Digest actual = upload.hash.finish();
  if (actual != upload.digest) {
    return fail(Errc::kInvalidArgument, "upload " + upload.id + ": content has SHA-256 " +
                                            actual.hex() + ", announced was " +
                                            upload.digest.hex() +
                                            "; removed, start again from the beginning");
  }
  if (::fsync(upload.file.get()) != 0) {
    return errno_error("cannot fsync", data_path(upload.id), errno);
  }
  return blobs_.adopt(data_path(upload.id), upload.digest);
}

Result<void> UploadStore::rebuild_hash(Upload& upload) const {
  upload.hash = Sha256();
  std::vector<std::byte> piece(std::size_t{256} * 1024);
  for (std::uint64_t at = 0; at < upload.offset; at += piece.size()) {
    const auto count = std::min<std::uint64_t>(piece.size(), upload.offset - at);
    const std::span<std::byte> part(piece.data(), static_cast<std::size_t>(count));
    MH_TRY_VOID(read_fully(upload.file.get(), at, part, data_path(upload.id)));
    upload.hash.update(part);
  }
  upload.hash_is_current = true;
  return {};
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
