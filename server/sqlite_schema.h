// The tables of the database, as numbered migrations. Migrations are never changed after a release;
// a new one is added at the end.
#pragma once

#include <span>

#include "proto/base/result.h"
#include "server/sqlite_database.h"

namespace mh::server {

// SQL of each migration; the database at version N has run the first N.
std::span<const char* const> migrations();

// Runs what the database has not run yet, each migration in a transaction of its own.
// Errors: kFailedPrecondition (made by a newer version), kInternal.
Result<void> migrate(Database& database);

}  // namespace mh::server
