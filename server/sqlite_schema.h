// The tables of the database, as numbered migrations. Migrations are never changed after a release;
// a new one is added at the end.
//
// Rules
// 1. All that a database lacks is run in one transaction: it is of the old version or of the new.
// 2. Before that a copy of the old one is made beside it, manyhands.db.version-N.
//    *Rationale:* the older program cannot read the migrated one.
// 3. A database of a newer version is refused, and not written to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "proto/base/result.h"
#include "server/sqlite_database.h"

namespace mh::server {

// SQL of each migration; the database at version N has run the first N.
std::span<const char* const> migrations();

// Errors: kInternal.
Result<std::int64_t> schema_version(Database& database);

// For programs that only read. Errors: kFailedPrecondition (older, or newer; says what to do).
Status require_schema(Database& database);

struct Migration {
  std::int64_t from = 0;
  std::int64_t to = 0;
  // The copy of the old database; empty if there was nothing to copy.
  std::filesystem::path copy;
};

// Runs what the database has not run yet. `file` is where it lies; `list` is for tests.
// Errors: kFailedPrecondition (made by a newer version), kResourceExhausted (no room for the copy),
// kInternal; the database is then as it was.
Result<Migration> migrate(Database& database, const std::filesystem::path& file,
                          std::span<const char* const> list = migrations());

}  // namespace mh::server
