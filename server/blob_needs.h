// Which blobs a database needs, and what for. Backup copies them, check looks for them, gc deletes
// all others. The rows decide alone, without a coordinator, so that a damaged server can be asked.
// Flow: read_snapshot -> blob_needs. Threads: free functions; they read manifests from the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/sha256.h"
#include "server/store.h"

namespace mh::server {

enum class BlobUse {
  kManifest,
  kChunk,
  kJobFile,
  kJobManifest,
  // Of the job's present step, and of an older one.
  kParameters,
  kCheckpoint,
  kOptimizerState,
  // Of a step in progress.
  kUpdate,
  // What a past step's record names and is kept.
  kRetained,
};

// One reason why a blob must be there.
struct BlobNeed {
  BlobUse use = BlobUse::kManifest;
  // Of the kinds that belong to a data set.
  std::string dataset;
  // Of the others.
  JobId job;
  std::uint64_t step = 0;
  ResultId result;
  // Of a job that has not ended: it cannot go on without the blob.
  bool is_live = false;
  // If the database or a manifest says so.
  std::optional<std::uint64_t> bytes;
};

struct BlobNeeds {
  // Never empty lists.
  std::map<Digest, std::vector<BlobNeed>> blobs;
  // Data sets whose manifest cannot be read: which chunks they need is not known.
  std::vector<std::string> unread_datasets;
};

BlobNeeds blob_needs(const ServerSnapshot& snapshot, const std::filesystem::path& blob_folder);

// "chunk of data set \"digits\"", "parameters after step 40 of job 3".
std::string describe(const BlobNeed& need);

}  // namespace mh::server
