// What the head of a tus request says of the upload and of its body: the announced digest
// ("Upload-Metadata") and the body's checksum ("Upload-Checksum"). Pure.
// Flow: http_uploads.cpp parses the head with it and feeds it the body.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "proto/net/message.h"

namespace mh::net {

/// What Upload-Metadata says: "sha256 BASE64(64 hex digits)", "resume"; other keys are not ours.
struct UploadAnnouncement {
  /// Zero: not announced. The blob is then named by what its bytes turn out to be.
  Digest digest;
  /// An unfinished upload of the same blob by the same owner may be gone on with; the reply says
  /// where it stands. Without it a creation always begins at byte 0, as tus has it.
  bool may_resume = false;
};

/// A missing or empty header announces nothing. Errors: kInvalidArgument (a sha256 that is none).
Result<UploadAnnouncement> parse_upload_metadata(const Headers& headers);

/// The checksum of one request's body, compared with what its head announced.
class UploadChecksum {
 public:
  /// For Tus-Checksum-Algorithm.
  static constexpr std::string_view kAlgorithms = "sha1,sha256";

  /// "sha1 BASE64" or "sha256 BASE64"; nothing if the header is not there.
  /// Errors: kInvalidArgument (another algorithm, no digest of its length, given twice).
  static Result<std::optional<UploadChecksum>> parse(const Headers& headers);

  void update(std::span<const std::byte> bytes);
  /// True if all bytes so far have the announced checksum. Requires: called once, at the end.
  bool is_right();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
  std::string expected_;  // raw bytes
};

}  // namespace mh::net
