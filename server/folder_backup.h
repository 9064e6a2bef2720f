// A copy of a server's folder that `manyhands-server run` can take up, made while the server runs.
//
// How it is consistent: (1) copy the blobs that are needed now; (2) hold all blobs, so that the
// server deletes none (blob_folder.h, rule 1); (3) open a transaction that reads: from here on the
// database stands still for us, and every blob that it names is there; (4) copy those that (1) did
// not have; (5) let go of the blobs; (6) copy the database as that transaction sees it; (7) check
// the copy; (8) give it its name.
//
// Rules
// 1. The server waits for nothing: a hold only puts off deletions, and readers do not stop writers.
//    (1) comes first so that the hold is short even when all is copied to another disk.
//    *Rationale:* the database first and the blobs after would miss blobs deleted in between (the
//    parameters of a small job live for milliseconds); blobs first would miss newer ones.
// 2. Blobs are hard links where the file system allows it: they never change, and BlobStore writes
//    over no file that has a second name. Else they are copied and their digests compared.
// 3. OUT appears whole, by rename, or not at all; what is there already is never touched.
// 4. Ids of the copy begin far beyond those of the original (sqlite_whole.h, raise_ids).
// Threads: one; blocks on the disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "server/folder_check.h"

namespace mh::server {

struct BackupOptions {
  // No hard links.
  bool is_copying = false;
  // Checks sizes instead of digests at the end.
  bool is_quick = false;
  // Makes the copy although a blob is missing or damaged in the original, too.
  bool is_despite_damage = false;
  bool shows_progress = false;
};

struct BackupReport {
  std::uint64_t linked_count = 0;
  std::uint64_t linked_bytes = 0;
  std::uint64_t copied_count = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t database_bytes = 0;
  // For how long the server deleted nothing.
  std::chrono::milliseconds held{0};
  // Of the copy.
  CheckReport check;
};

// Errors: kNotFound (no server's folder), kAlreadyExists (`out` is there), kDataLoss (damage, with
// the first finding), kResourceExhausted (disk full), kInternal. Nothing is left behind then.
Result<BackupReport> backup_folder(const std::filesystem::path& folder,
                                   const std::filesystem::path& out, const BackupOptions& options,
                                   TimePoint now);

}  // namespace mh::server
