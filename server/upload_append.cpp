// The growing half of UploadStore: one piece after the other, and publishing. See upload_store.h.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "server/upload_store_impl.h"

namespace mh::server {
namespace {

constexpr std::size_t kPieceBytes = 256 * 1024;

KillPoint before_write("upload.before_write");
KillPoint after_write("upload.after_write");
KillPoint before_fsync("upload.before_fsync");
KillPoint after_publish("upload.after_publish");

// Hash of the first `length` bytes.
Result<Sha256> hash_of(const UniqueFd& file, std::uint64_t length,
                       const std::filesystem::path& path) {
  Sha256 hash;
  std::vector<std::byte> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < length; at += piece.size()) {
    const auto count = std::min<std::uint64_t>(piece.size(), length - at);
    const std::span<std::byte> part(piece.data(), static_cast<std::size_t>(count));
    MH_TRY_VOID(read_fully(file.get(), at, part, path));
    hash.update(part);
  }
  return hash;
}

// Bytes beyond an upload's offset do no harm, so this may fail.
void cut(const UniqueFd& file, std::uint64_t length, const std::filesystem::path& path) {
  if (::ftruncate(file.get(), static_cast<off_t>(length)) != 0) {
    log_warn("cannot take back part of an upload", {{"file", path.string()}});
  }
}

}  // namespace

Result<std::shared_ptr<UploadStore::Upload>> UploadStore::begin_append(const std::string& id,
                                                                       std::string_view owner,
                                                                       std::uint64_t offset,
                                                                       std::uint64_t count,
                                                                       TimePoint now) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Upload> upload = claim(id, owner);
  if (upload == nullptr || upload->expires <= now) return no_such_upload(id);
  if (upload->is_busy) {
    return fail(Errc::kAborted, "upload " + id + ": another request is appending to it");
  }
  if (offset != upload->offset) {
    return fail(Errc::kAborted, "upload " + id + " stands at offset " +
                                    std::to_string(upload->offset) + ", not " +
                                    std::to_string(offset));
  }
  if (count > upload->length - upload->offset) {
    return fail(Errc::kInvalidArgument, "upload " + id + ": " + std::to_string(count) +
                                            " bytes at offset " + std::to_string(offset) +
                                            " go beyond its length " +
                                            std::to_string(upload->length));
  }
  upload->is_busy = true;
  upload->expires = now + limits_.lifetime;
  return upload;
}

Result<UploadStatus> UploadStore::append(const std::string& id, std::string_view owner,
                                         std::uint64_t offset, std::span<const std::byte> bytes,
                                         TimePoint now) {
  MH_TRY(const std::shared_ptr<Upload> upload, begin_append(id, owner, offset, bytes.size(), now));
  const Outcome outcome = write_piece(*upload, bytes);
  if (outcome.is_over) {
    UploadStatus status = upload->status();
    status.offset = outcome.offset;
    status.digest = outcome.digest;
    status.is_complete = true;
    forget(id);
    MH_TRY_VOID(outcome.done);
    return status;
  }
  if (outcome.done) renew_info(*upload);
  const std::lock_guard lock(mutex_);
  upload->offset = outcome.offset;
  upload->is_busy = false;
  MH_TRY_VOID(outcome.done);
  return upload->status();
}

UploadStore::Outcome UploadStore::write_piece(Upload& upload, std::span<const std::byte> bytes) {
  const auto path = data_path(upload.id);
  const std::uint64_t offset = upload.offset;
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.is_open()) {
    const bool is_lost = errno == ENOENT;
    return Outcome{disk_error("cannot open", path, errno), offset, is_lost, {}};
  }
  if (!upload.hash_is_current) {
    Result<Sha256> hash = hash_of(file, offset, path);
    if (!hash) return Outcome{hash.error(), offset, hash.error().code == Errc::kDataLoss, {}};
    upload.hash = std::move(*hash);
    upload.hash_is_current = true;
  }
  before_write.pass();
  if (auto written = write_fully(disk_, file.get(), offset, bytes, path); !written) {
    // A full disk gets back what the next try would write anyway.
    cut(file, offset, path);
    return Outcome{std::move(written), offset, false, {}};
  }
  after_write.pass();
  upload.hash.update(bytes);
  if (offset + bytes.size() == upload.length) return publish(upload, file);
  return Outcome{{}, offset + bytes.size(), false, {}};
}

UploadStore::Outcome UploadStore::publish(Upload& upload, const UniqueFd& file) {
  const Digest actual = upload.hash.finish();
  upload.hash_is_current = false;
  if (!upload.digest.is_zero() && actual != upload.digest) {
    Error error =
        fail(Errc::kInvalidArgument, "upload " + upload.id + ": content has SHA-256 " +
                                         actual.hex() + ", announced was " + upload.digest.hex() +
                                         "; removed, start again from the beginning");
    return Outcome{std::move(error), upload.length, true, {}};
  }
  const auto path = data_path(upload.id);
  const bool is_fresh = limits_.publishes_fresh && limits_.publishes_fresh(upload.owner);
  if (!is_fresh) before_fsync.pass();
  if (!is_fresh && disk_.sync(file.get()) != 0) {
    Error error = disk_error("cannot fsync", path, errno);
    cut(file, 0, path);
    return Outcome{std::move(error), 0, false, {}};
  }
  auto adopted = is_fresh ? blobs_.adopt_fresh(path, actual) : blobs_.adopt(path, actual);
  if (!adopted) {
    // If it was renamed before the error, what `file` is open on is a blob by now.
    const bool is_gone = ::access(path.c_str(), F_OK) != 0;
    return Outcome{std::move(adopted), upload.offset, is_gone, actual};
  }
  after_publish.pass();
  return Outcome{{}, upload.length, true, actual};
}

Result<void> UploadStore::rewind(const std::string& id, std::string_view owner,
                                 std::uint64_t offset, TimePoint now) {
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(mutex_);
    upload = claim(id, owner);
    if (upload == nullptr || upload->expires <= now) return no_such_upload(id);
    if (upload->is_busy) return fail(Errc::kAborted, "upload " + id + " is being appended to");
    if (offset > upload->offset) {
      return fail(Errc::kAborted, "upload " + id + " stands at offset " +
                                      std::to_string(upload->offset) + ", not yet at " +
                                      std::to_string(offset));
    }
    upload->is_busy = true;
  }
  const auto path = data_path(id);
  // After a restart the length of the file is what has arrived.
  const bool is_cut = ::truncate(path.c_str(), static_cast<off_t>(offset)) == 0;
  Result<void> done;
  if (!is_cut) done = disk_error("cannot cut", path, errno);
  const std::lock_guard lock(mutex_);
  upload->hash_is_current = false;
  upload->offset = offset;
  upload->is_busy = false;
  return done;
}

void UploadStore::renew_info(Upload& upload) const {
  const bool is_kept = upload.expires_in_info != TimePoint{};
  if (!is_kept || upload.expires - upload.expires_in_info < limits_.lifetime / 8) return;
  upload.expires_in_info = upload.expires;
  auto written = write_file_atomically(info_path(upload.id), upload_info_text(upload.info()), 0600);
  if (!written) {
    log_warn("upload may expire early after a restart", {{"why", written.error().message}});
  }
}

}  // namespace mh::server
