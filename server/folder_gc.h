// Makes room in the folder of a stopped server: blobs that no row needs, abandoned uploads, what a
// crash left half-made, and (if asked) older checkpoints.
//
// Rules
// 1. Only a stopped server's folder: its lock is taken. *Rationale:* only the running server knows
//    what is about to be named: updates that were uploaded and not yet reported, chunks of an
//    import under way, a blob that an upload was just told to be there already. It deletes by
//    itself what it stops needing; what is left for gc comes from crashes and from clients that
//    never came back.
// 2. A blob younger than orphan_age stays. *Rationale:* it may be an update that its host reports
//    when the server is back, or the first half of an import; both would have to be sent again.
// 3. Nothing is deleted if it is not certain what is needed: the manifest of every data set must be
//    readable, and the database whole.
// 4. Checkpoints go only if a retention is given; the rows go first, in one transaction.
// Threads: one; blocks on the disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "proto/base/clock.h"
#include "proto/base/result.h"

namespace mh::server {

// Which checkpoints of a job are kept beside the best one and those that wait for an evaluation.
struct Retention {
  // The newest so many; at least 1.
  std::uint32_t checkpoints_kept = 3;
  // Every Nth step; 0: none.
  std::uint64_t checkpoint_every = 0;
};

struct GcOptions {
  bool is_dry_run = false;
  std::chrono::milliseconds orphan_age = std::chrono::hours(24);
  // None: every checkpoint stays.
  std::optional<Retention> retention;
  bool shows_progress = false;
};

struct GcReport {
  std::uint64_t checkpoint_count = 0;
  // Blobs of those checkpoints among them.
  std::uint64_t blob_count = 0;
  std::uint64_t blob_bytes = 0;
  std::uint64_t temporary_count = 0;
  std::uint64_t temporary_bytes = 0;
  std::uint64_t upload_count = 0;
  std::uint64_t upload_bytes = 0;
  // Orphans that are too young.
  std::uint64_t young_count = 0;
};

// Errors: kNotFound (no server's folder), kUnavailable (the server runs, or a backup is being
// made), kFailedPrecondition (another schema version), kDataLoss (rule 3: check says more).
Result<GcReport> gc_folder(const std::filesystem::path& folder, const GcOptions& options,
                           TimePoint now);

}  // namespace mh::server
