// The .info file beside an unfinished upload: what must be known of it after a restart.
// Used by UploadStore. Threads: free functions; they block on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::server {

struct UploadInfo {
  // One line.
  std::string owner;
  std::uint64_t length = 0;
  Digest digest;
  TimePoint expires{};
};

// Text of the file; a later format gets another first line.
std::string upload_info_text(const UploadInfo& info);
// Errors: kNotFound, kDataLoss (cut, or of another format).
Result<UploadInfo> read_upload_info(const std::filesystem::path& file);

}  // namespace mh::server
