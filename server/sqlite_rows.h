// Rows into the database and back: one RowWriter for the writing connection, one function that
// reads what a start needs. Part of SqliteStore; nothing else includes it.
//
// What is kept: every row, for ever, but checkpoints that are not kept any more and removed data
// sets. A workunit with one result takes 150 bytes, so a million of them are 150 MB; in return
// coverage() proves of any job, at any time, that each sample counted exactly once.
#pragma once

#include <memory>

#include "server/sqlite_database.h"
#include "server/store.h"

namespace mh::server {

// Writes transitions with prepared statements, inside the caller's SQLite transaction.
// Threads: those of its Database.
class RowWriter {
 public:
  // `database` must outlive it, and have run all migrations.
  static Result<std::unique_ptr<RowWriter>> prepare(Database& database);
  ~RowWriter();
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;

  // Inserts or replaces every row, those that others refer to first. After an error part of them is
  // written: roll back.
  Result<void> write(const Transaction& transaction);

 private:
  struct Statements;
  explicit RowWriter(std::unique_ptr<Statements> statements);

  std::unique_ptr<Statements> statements_;
};

// Everything that a start needs, as of one moment. Errors: kDataLoss (no server id, damaged
// values), kInternal.
Result<ServerSnapshot> read_snapshot(Database& database);
// The same inside a transaction of the caller's.
Result<ServerSnapshot> read_snapshot_in_transaction(Database& database);

// See Store::coverage.
Result<SampleCoverage> read_coverage(Database& database, JobId job, std::uint64_t positions);

}  // namespace mh::server
