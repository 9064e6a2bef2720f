// Is a server's folder whole? The database by itself, the database against the coordinator's rules,
// the blobs against the database. Only reads.
//
// Rules
// 1. Beside a running server nothing is a finding that may be the server at work: a blob that is
//    missing is looked for again, and the database is asked again whether it still names it; files
//    that no row names count as orphans only if they are older than a day.
// 2. What costs computed work is damage; orphans cost room only.
// Threads: one; blocks on the disk. Starts a process for the coordinator's check, because that ends
// its process when it fails.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "server/blob_folder.h"
#include "server/blob_needs.h"

namespace mh::server {

struct CheckOptions {
  // Sizes instead of digests, and no comparison of indexes with their tables.
  bool is_quick = false;
  // Beside a running server: the age from which a file without a row is an orphan.
  std::chrono::milliseconds orphan_age = std::chrono::hours(24);
  bool shows_progress = false;
};

// Something that is damaged.
struct Finding {
  // "database", "counting", "coordinator", "blob missing", "blob damaged".
  std::string kind;
  // What and which.
  std::string what;
  // What it means, and what to do.
  std::string advice;
};

struct CheckReport {
  std::vector<Finding> damage;
  bool is_running = false;
  std::int64_t schema_version = 0;
  std::uint64_t job_count = 0;
  std::uint64_t host_count = 0;
  std::uint64_t blob_count = 0;
  std::uint64_t blob_bytes = 0;
  // Of those.
  std::uint64_t hashed_count = 0;
  std::uint64_t orphan_count = 0;
  std::uint64_t orphan_bytes = 0;
  // Of a stopped server: what a crash left half-made.
  std::uint64_t temporary_count = 0;
  std::vector<std::filesystem::path> strangers;

  bool is_whole() const { return damage.empty(); }
};

// Errors: kNotFound (no server's folder), kFailedPrecondition (another schema version), kInternal
// (cannot be read at all).
Result<CheckReport> check_folder(const std::filesystem::path& folder, const CheckOptions& options,
                                 TimePoint now);

// True if a server has the folder at this moment.
bool is_server_running(const std::filesystem::path& folder);

// What the coordinator says against a state; empty: nothing. It is asked in a child process.
std::string coordinator_complaint(const scheduler::Snapshot& snapshot);

// Every blob that no row needs, `age` old or older.
std::vector<BlobFile> orphans_of(const BlobListing& listing, const BlobNeeds& needs,
                                 std::chrono::milliseconds age, TimePoint now);

}  // namespace mh::server
