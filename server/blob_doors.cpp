// See blob_doors.h.
#include "server/blob_doors.h"

#include <utility>

namespace mh::server {
namespace {

Result<net::UploadState> told(Result<UploadStatus> status) {
  if (!status) return std::move(status).error();
  net::UploadState state;
  state.id = status->id;
  state.offset = status->offset;
  state.length = status->length;
  state.expires = status->expires;
  state.is_complete = status->is_complete;
  state.digest = status->digest;
  return state;
}

}  // namespace

Result<net::BlobFile> BlobDoor::open(const Digest& digest) {
  MH_TRY(OpenBlob blob, blobs_.open_blob(digest));
  return net::BlobFile{std::move(blob.file), blob.bytes};
}

Error UploadDoor::explain(Error error) const {
  const bool may_be_disk = error.code == Errc::kResourceExhausted || error.code == Errc::kInternal;
  const Status has_room = disk_.check_room();
  return may_be_disk && !has_room ? has_room.error() : error;
}

Result<net::UploadState> UploadDoor::create(const std::string& owner, std::uint64_t length,
                                            const Digest& digest) {
  MH_TRY_VOID(disk_.check_room());
  auto status = uploads_.create(owner, length, digest, clock_.now());
  if (!status) return explain(status.error());
  return told(std::move(status));
}

Result<net::UploadState> UploadDoor::resume(const std::string& owner, std::uint64_t length,
                                            const Digest& digest) {
  return told(uploads_.resume(owner, length, digest, clock_.now()));
}

Result<net::UploadState> UploadDoor::find(const std::string& owner, const std::string& id) {
  return told(uploads_.find(id, owner, clock_.now()));
}

Result<net::UploadState> UploadDoor::append(const std::string& owner, const std::string& id,
                                            std::uint64_t offset,
                                            std::span<const std::byte> bytes) {
  MH_TRY_VOID(disk_.check_room());
  auto status = uploads_.append(id, owner, offset, bytes, clock_.now());
  if (!status) return explain(status.error());
  if (published_ && status->is_complete) published_(owner, status->digest);
  return told(std::move(status));
}

Status UploadDoor::keep(const std::string& owner, const std::string& id) {
  return uploads_.keep(id, owner, clock_.now());
}

Status UploadDoor::rewind(const std::string& owner, const std::string& id, std::uint64_t offset) {
  return uploads_.rewind(id, owner, offset, clock_.now());
}

Status UploadDoor::remove(const std::string& owner, const std::string& id) {
  return uploads_.remove(id, owner);
}

}  // namespace mh::server
