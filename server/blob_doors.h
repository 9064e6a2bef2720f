// What the HTTP server is given of the stores: GET /blob from BlobStore, tus uploads into
// UploadStore. Adapters only: they turn structs into those of proto/net/http_server.h, bring the
// time in, and refuse uploads while the disk is full or fails.
// Threads: called on the pool, several at a time; both stores allow that.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>

#include "proto/base/clock.h"
#include "proto/net/http_server.h"
#include "server/blob_store.h"
#include "server/disk_watch.h"
#include "server/upload_store.h"

namespace mh::server {

class BlobDoor final : public net::BlobSource {
 public:
  // `blobs` must outlive this.
  explicit BlobDoor(const BlobStore& blobs) : blobs_(blobs) {}

  Result<net::BlobFile> open(const Digest& digest) override;

 private:
  const BlobStore& blobs_;
};

class UploadDoor final : public net::UploadSink {
 public:
  // Told of each blob that really came from this owner, byte by byte.
  using Published = std::function<void(const std::string& owner, const Digest& blob)>;

  // All must outlive this; `clock` is read, and `published` called, on several threads.
  UploadDoor(UploadStore& uploads, const DiskWatch& disk, const Clock& clock,
             Published published = {})
      : uploads_(uploads), disk_(disk), clock_(clock), published_(std::move(published)) {}

  // create() and append() fail with kUnavailable while the server is degraded, also when it became
  // so only now.

  Result<net::UploadState> create(const std::string& owner, std::uint64_t length,
                                  const Digest& digest) override;
  Result<net::UploadState> resume(const std::string& owner, std::uint64_t length,
                                  const Digest& digest) override;
  Result<net::UploadState> find(const std::string& owner, const std::string& id) override;
  Result<net::UploadState> append(const std::string& owner, const std::string& id,
                                  std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status keep(const std::string& owner, const std::string& id) override;
  Status rewind(const std::string& owner, const std::string& id, std::uint64_t offset) override;
  Status remove(const std::string& owner, const std::string& id) override;

 private:
  // `error`, or that the server is degraded if the disk is the reason.
  Error explain(Error error) const;

  UploadStore& uploads_;
  const DiskWatch& disk_;
  const Clock& clock_;
  const Published published_;
};

}  // namespace mh::server
