// What is done to a database as a whole: looked through for damage, copied while others write it.
// Used by check, backup and migrate. Threads: those of the Database; every function blocks on the
// disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "server/sqlite_database.h"
#include "server/store.h"

namespace mh::server {

// Most problems that one look returns.
inline constexpr int kDatabaseProblemsMax = 20;

// What SQLite finds wrong with the file, and rows that refer to nothing; empty: all is well.
// `is_quick` leaves out whether indexes agree with their tables. Errors: kInternal.
Result<std::vector<std::string>> damage_of(Database& database, bool is_quick);

// Counters against the rows that they count: credit, samples and valid results of each host in each
// job against its valid results; positions of the sample stream against the workunits that were
// counted. Empty: all is well. Errors: kInternal, kDataLoss.
Result<std::vector<std::string>> miscounts_of(Database& database);

// Step records whose bytes are not those of their digest, or that are no chain up to what their job
// says; at most one for a job. Empty: all is well. Errors: kInternal, kDataLoss.
Result<std::vector<std::string>> record_faults_of(Database& database);

// Told of pages copied, and of all.
using PagesCopied = std::function<void(std::uint64_t, std::uint64_t)>;

// Copies the database into a new file and makes that durable. If `source` has a transaction open,
// the copy is what that transaction sees, whatever others commit meanwhile.
// Errors: kAlreadyExists, kResourceExhausted (disk full), kInternal.
Status copy_database(Database& source, const std::filesystem::path& target,
                     const PagesCopied& copied = {});

// Lets the ids of a copy begin far beyond all that the original may have given out since.
// *Rationale:* a host may report, to a server that was restored from a copy, a result that the lost
// one leased after the copy was made. If the number had been given out a second time, the update of
// one workunit would count for another.
Status raise_ids(Database& database);
// By how much: a lost server that answered 15,000 calls a second since the copy would need two
// years. JSON readers keep ids exactly through 8,000 restorations.
inline constexpr std::uint64_t kRaisedIdsBy = std::uint64_t{1} << 40U;

}  // namespace mh::server
