// Uploads under way (tus 1.0): created with length and digest, appended piece by piece, published
// as a blob when whole and its SHA-256 is the announced one. Fed by the HTTP server's upload
// handler. Each upload is a file in DIR/uploads, <id>.data; one that outlives its request has
// <id>.info beside it.
//
// Rules
// 1. A kept upload (keep()) stands at the length of its data file, so that a cut one goes on where
//    it stopped after the server was restarted, kill -9 included; one that was cut with its server
//    in its first request begins again. Nothing is fsynced before the end.
//    *Rationale:* an upload that a power failure damages fails its digest and is sent again; only a
//    published blob is promised.
// 2. An upload that is not published has at least one byte to come, whatever happens.
//    *Rationale:* a client that finds all its bytes here takes the upload for done.
// 3. When publishing fails for want of space the last piece is taken back, and the client may send
// it
//    again; when the fsync fails the upload starts again at 0, because what was written before may
//    be lost by then. A wrong digest removes the upload.
// 4. A new upload of a blob takes the place of the owner's unfinished ones of the same blob that
//    nobody touched for supersede_after; resume() goes on with one instead.
//    *Rationale:* a client that was killed, or that knows no better, begins again; what it left
//    must not fill its quota for a day. One that a connection still feeds is left alone.
// 5. rewind() takes bytes back that an unfinished upload has. Bytes that a killed server had not
//    yet checked against their request's checksum count as sent: the digest finds them out.
//
// Threads: every member may be called from any thread (one leaf mutex); appends to one upload are
// refused while another append to it runs. Members block on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "server/blob_store.h"

namespace mh::server {

struct UploadLimits {
  // Largest single upload, in bytes.
  std::uint64_t bytes_max = std::uint64_t{4} << 30;
  // Unfinished uploads one owner may have at a time, and their announced bytes together.
  std::uint32_t count_per_owner_max = 64;
  std::uint64_t bytes_per_owner_max = std::uint64_t{16} << 30;
  // An upload that nobody touched for so long is removed.
  std::chrono::milliseconds lifetime = std::chrono::hours(24);
  // Untouched for so long, it makes room for a new upload of the same blob by the same owner.
  std::chrono::milliseconds supersede_after = std::chrono::seconds(60);
  // Owners whose blobs are published as fresh ones (BlobStore): who relies on such a blob makes it
  // durable first. None: nobody's.
  std::function<bool(std::string_view owner)> publishes_fresh;
};

// What a client may know of its upload.
struct UploadStatus {
  std::string id;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  TimePoint expires{};
  // Whole and published; the id is forgotten.
  bool is_complete = false;
  // Zero: not announced, and not known before it is complete.
  Digest digest;
};

class UploadStore {
 public:
  // Takes up what an earlier run left in `folder`. `blobs` and `disk` must outlive this.
  static Result<std::unique_ptr<UploadStore>> open(std::filesystem::path folder, BlobStore& blobs,
                                                   UploadLimits limits, TimePoint now,
                                                   Disk& disk = posix_disk());

  // Starts an upload; `digest` zero: not announced. A blob that is here already is complete at
  // once. Errors: kResourceExhausted (a limit, or disk full), kInvalidArgument (length 0, an
  // owner's name with a line break).
  Result<UploadStatus> create(std::string_view owner, std::uint64_t length, const Digest& digest,
                              TimePoint now);
  // The owner's unfinished upload of this blob that is furthest on; touched by it.
  // Errors: kNotFound (none, or all are being appended to).
  Result<UploadStatus> resume(std::string_view owner, std::uint64_t length, const Digest& digest,
                              TimePoint now);
  // Errors: kNotFound (no such upload of this owner; expired).
  Result<UploadStatus> find(const std::string& id, std::string_view owner, TimePoint now) const;
  // Appends at exactly `offset`. The last piece verifies the digest and publishes the blob.
  // Errors: kNotFound; kAborted (offset is not where the upload stands, or another
  // append is running); kInvalidArgument (more bytes than announced; digest wrong: the upload is
  // removed); kResourceExhausted (disk full: the upload stays; where it stands, find() says).
  Result<UploadStatus> append(const std::string& id, std::string_view owner, std::uint64_t offset,
                              std::span<const std::byte> bytes, TimePoint now);
  // Makes an unfinished upload survive a restart, as far as it has come. *Rationale:* most uploads
  // are whole in the request that creates them; only others are worth a second file.
  // Errors: kNotFound, kAborted (an append is running), kResourceExhausted.
  Result<void> keep(const std::string& id, std::string_view owner, TimePoint now);
  // Takes back what is beyond `offset`.
  // Errors: kNotFound, kAborted (an append is running; it does not reach that far), the disk's.
  Result<void> rewind(const std::string& id, std::string_view owner, std::uint64_t offset,
                      TimePoint now);
  // Errors: kNotFound, kAborted (an append is running).
  Result<void> remove(const std::string& id, std::string_view owner);
  // Removes what has expired; returns how many.
  std::size_t remove_expired(TimePoint now);
  std::size_t count() const;

 private:
  struct Upload;
  struct Outcome;
  UploadStore(std::filesystem::path folder, BlobStore& blobs, UploadLimits limits, Disk& disk)
      : folder_(std::move(folder)), blobs_(blobs), limits_(limits), disk_(disk) {}

  Result<void> load(TimePoint now);
  Result<void> load_one(const std::filesystem::path& info, TimePoint now);
  // Removes what a new upload of this blob takes the place of.
  void supersede(std::string_view owner, std::uint64_t length, const Digest& digest, TimePoint now);
  // A new entry, made busy, if the owner's quota allows it.
  Result<std::shared_ptr<Upload>> admit(std::string_view owner, std::uint64_t length,
                                        const Digest& digest, TimePoint now);
  Result<void> make_data_file(const Upload& upload) const;
  Result<void> write_info(Upload& upload) const;
  // Makes the upload busy if it stands at `offset` and `count` bytes may follow.
  Result<std::shared_ptr<Upload>> begin_append(const std::string& id, std::string_view owner,
                                               std::uint64_t offset, std::uint64_t count,
                                               TimePoint now);
  // These three work on an upload that the caller has made busy, without the lock.
  Outcome write_piece(Upload& upload, std::span<const std::byte> bytes);
  Outcome publish(Upload& upload, const UniqueFd& file);
  void renew_info(Upload& upload) const;

  static Error no_such_upload(const std::string& id);
  // Null: no such upload of this owner. Requires the lock.
  std::shared_ptr<Upload> claim(const std::string& id, std::string_view owner) const;
  void forget(const std::string& id);
  void remove_files(const std::string& id) const;
  std::filesystem::path data_path(const std::string& id) const { return folder_ / (id + ".data"); }
  std::filesystem::path info_path(const std::string& id) const { return folder_ / (id + ".info"); }

  const std::filesystem::path folder_;
  BlobStore& blobs_;
  const UploadLimits limits_;
  Disk& disk_;

  mutable std::mutex mutex_;
  // Guarded by mutex_: the map, and each upload's offset, expires and is_busy.
  std::unordered_map<std::string, std::shared_ptr<Upload>> uploads_;
};

}  // namespace mh::server
