// See sqlite_schema.h. Conventions: times are milliseconds since 1970; digests are 32 bytes, all
// zero for none; states and kinds are the numbers of scheduler/rows.h and server/rows.h; a REAL
// without a value (NaN) is NULL. Numbers are 64 bits wide and below 2^63.
#include "server/sqlite_schema.h"

#include <array>
#include <string>
#include <system_error>

#include "proto/base/file.h"
#include "server/sqlite_whole.h"

namespace mh::server {
namespace {

// Foreign keys say what is written first. Blobs live in files, so no digest is a foreign key; nor
// is jobs.dataset (a data set may go when its jobs have ended) or workunits.canonical (a workunit
// is written before its results).
constexpr const char* kFirstTables = R"sql(
CREATE TABLE settings(
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role INTEGER NOT NULL,
  created INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens(
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts,
  hash BLOB NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  is_revoked INTEGER NOT NULL
) STRICT;

CREATE TABLE invitations(
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts,
  hash BLOB NOT NULL UNIQUE,
  use_count INTEGER NOT NULL,
  use_count_max INTEGER NOT NULL,
  expires INTEGER NOT NULL
) STRICT;

CREATE TABLE datasets(
  name TEXT PRIMARY KEY,
  manifest BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  dataset TEXT NOT NULL,
  request_id TEXT NOT NULL,
  job_digest BLOB NOT NULL,
  manifest_digest BLOB NOT NULL,
  step_count INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  shard INTEGER NOT NULL,
  training_flops REAL,
  evaluation_flops REAL,
  has_classes INTEGER NOT NULL,
  has_evaluation INTEGER NOT NULL,
  evaluation_split TEXT NOT NULL,
  evaluation_sample_count INTEGER NOT NULL,
  evaluation_every_steps INTEGER NOT NULL,
  evaluation_shard INTEGER NOT NULL,
  evaluation_chunk_samples INTEGER NOT NULL,
  created INTEGER NOT NULL,
  state INTEGER NOT NULL,
  state_reason TEXT NOT NULL,
  priority INTEGER NOT NULL,
  step INTEGER NOT NULL,
  parameters_digest BLOB NOT NULL,
  optimizer_digest BLOB NOT NULL,
  training_loss REAL,
  training_accuracy REAL,
  started INTEGER NOT NULL,
  last_step INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  version INTEGER NOT NULL,
  log_count INTEGER NOT NULL
) STRICT;

CREATE TABLE job_sources(
  job_id INTEGER PRIMARY KEY REFERENCES jobs,
  request_id TEXT NOT NULL,
  yaml TEXT NOT NULL,
  dataset TEXT NOT NULL
) STRICT;

CREATE TABLE hosts(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  platform TEXT NOT NULL,
  client_version TEXT NOT NULL,
  device TEXT NOT NULL,
  device_model TEXT NOT NULL,
  threads INTEGER NOT NULL,
  is_trusted INTEGER NOT NULL,
  is_detached INTEGER NOT NULL,
  attached INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  valid_count INTEGER NOT NULL,
  rejected_count INTEGER NOT NULL,
  failed_count INTEGER NOT NULL,
  lost_count INTEGER NOT NULL,
  credit REAL,
  seconds_per_gflop REAL,
  seconds_per_gflop_deviation REAL,
  lease_quota INTEGER NOT NULL
) STRICT;

CREATE TABLE host_secrets(
  hash BLOB PRIMARY KEY,
  host_id INTEGER NOT NULL REFERENCES hosts,
  account_id INTEGER NOT NULL REFERENCES accounts,
  is_revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workunits(
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES jobs,
  kind INTEGER NOT NULL,
  step INTEGER NOT NULL,
  shard INTEGER NOT NULL,
  range_begin INTEGER NOT NULL,
  range_end INTEGER NOT NULL,
  state INTEGER NOT NULL,
  canonical INTEGER NOT NULL
) STRICT;
-- The start finds those of a step by it; coverage reads all ranges of a job from it alone.
CREATE INDEX workunit_ranges ON workunits(job, kind, step, range_begin, range_end);

CREATE TABLE results(
  id INTEGER PRIMARY KEY,
  workunit INTEGER NOT NULL REFERENCES workunits,
  job INTEGER NOT NULL REFERENCES jobs,
  host INTEGER NOT NULL REFERENCES hosts,
  state INTEGER NOT NULL,
  is_reissue INTEGER NOT NULL,
  leased INTEGER NOT NULL,
  lease_length INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  update_digest BLOB NOT NULL,
  update_bytes INTEGER NOT NULL,
  loss_sum REAL,
  correct_count INTEGER NOT NULL,
  compute_ms INTEGER NOT NULL,
  credit REAL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX results_of_workunit ON results(workunit);
-- State 2 is kValid. Only valid results stand in it, so that coverage looks at nothing else.
CREATE INDEX counted_results ON results(workunit) WHERE state = 2;

CREATE TABLE steps(
  job INTEGER NOT NULL REFERENCES jobs,
  step INTEGER NOT NULL,
  loss REAL,
  accuracy REAL,
  sample_count INTEGER NOT NULL,
  gradient_norm REAL,
  learning_rate REAL,
  finished INTEGER NOT NULL,
  parameters_digest BLOB NOT NULL,
  PRIMARY KEY(job, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations(
  job INTEGER NOT NULL REFERENCES jobs,
  step INTEGER NOT NULL,
  state INTEGER NOT NULL,
  split TEXT NOT NULL,
  sample_count INTEGER NOT NULL,
  loss REAL,
  accuracy REAL,
  finished INTEGER NOT NULL,
  PRIMARY KEY(job, step)
) STRICT, WITHOUT ROWID;

-- A checkpoint that is not kept any more has no row.
CREATE TABLE checkpoints(
  job INTEGER NOT NULL REFERENCES jobs,
  step INTEGER NOT NULL,
  parameters_digest BLOB NOT NULL,
  is_kept INTEGER NOT NULL,
  PRIMARY KEY(job, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE contributions(
  job INTEGER NOT NULL REFERENCES jobs,
  host INTEGER NOT NULL REFERENCES hosts,
  valid_count INTEGER NOT NULL,
  rejected_count INTEGER NOT NULL,
  failed_count INTEGER NOT NULL,
  lost_count INTEGER NOT NULL,
  reissued_count INTEGER NOT NULL,
  evaluation_count INTEGER NOT NULL,
  sample_count INTEGER NOT NULL,
  upload_bytes INTEGER NOT NULL,
  download_bytes INTEGER NOT NULL,
  credit REAL,
  PRIMARY KEY(job, host)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_log(
  job INTEGER NOT NULL REFERENCES jobs,
  sequence INTEGER NOT NULL,
  time INTEGER NOT NULL,
  step INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY(job, sequence)
) STRICT, WITHOUT ROWID;
)sql";

// Jobs of before were computed with whatever threads they said, which hosts found out themselves.
constexpr const char* kThreadsAndWaste = R"sql(
ALTER TABLE jobs ADD COLUMN threads INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN wasted_gflop REAL DEFAULT 0;
)sql";

// Jobs of before go on as they were: unchecked (ValidationMode 1), their credit granted at once and
// booked with the next step. Hosts of before are new (Standing 1) and of no known network; the
// account of a host is that of its secret, unless strangers share it ("volunteers").
constexpr const char* kChecksAndCredit = R"sql(
ALTER TABLE jobs ADD COLUMN validation_mode INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN quorum INTEGER NOT NULL DEFAULT 2;
ALTER TABLE jobs ADD COLUMN check_share_min REAL DEFAULT 0.05;
ALTER TABLE jobs ADD COLUMN is_homogeneous INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN relative_l2_max REAL DEFAULT 0.02;
ALTER TABLE jobs ADD COLUMN one_minus_cosine_max REAL DEFAULT 0.001;
ALTER TABLE jobs ADD COLUMN checked_gflop REAL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN differed_gflop REAL DEFAULT 0;

ALTER TABLE hosts ADD COLUMN account INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN address_block TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN credit_held REAL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN standing INTEGER NOT NULL DEFAULT 1;
ALTER TABLE hosts ADD COLUMN standing_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN valid_in_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN checked_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN differed_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN recent_checks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN log_count INTEGER NOT NULL DEFAULT 0;
UPDATE hosts SET account = coalesce(
  (SELECT s.account_id FROM host_secrets s JOIN accounts a ON a.id = s.account_id
     WHERE s.host_id = hosts.id AND a.name <> 'volunteers'), 0);

ALTER TABLE contributions ADD COLUMN agreed_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contributions ADD COLUMN differed_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contributions ADD COLUMN credit_held REAL DEFAULT 0;
ALTER TABLE contributions ADD COLUMN credit_forfeited REAL DEFAULT 0;
ALTER TABLE contributions ADD COLUMN credit_booked REAL DEFAULT 0;

CREATE TABLE host_log(
  host INTEGER NOT NULL REFERENCES hosts,
  sequence INTEGER NOT NULL,
  time INTEGER NOT NULL,
  standing INTEGER NOT NULL,
  job INTEGER NOT NULL,
  result INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY(host, sequence)
) STRICT, WITHOUT ROWID;

-- The ledger: rows are added, never changed. What hosts of before had earned is its first entry.
CREATE TABLE credit(
  sequence INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs,
  host INTEGER NOT NULL REFERENCES hosts,
  kind INTEGER NOT NULL,
  gflop REAL,
  balance REAL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX credit_of_host ON credit(host, job, sequence);
INSERT INTO credit(time, job, host, kind, gflop, balance, reason)
  SELECT j.created, c.job, c.host, 1, c.credit, c.credit, 'earned before there was a ledger'
    FROM contributions c JOIN jobs j ON j.id = c.job WHERE c.credit > 0 ORDER BY c.job, c.host;
UPDATE contributions SET credit_booked = credit;

CREATE TABLE agreements(
  job INTEGER NOT NULL REFERENCES jobs,
  first_class TEXT NOT NULL,
  second_class TEXT NOT NULL,
  pair_count INTEGER NOT NULL,
  equal_count INTEGER NOT NULL,
  histogram TEXT NOT NULL,
  relative_l2_most REAL,
  one_minus_cosine_most REAL,
  PRIMARY KEY(job, first_class, second_class)
) STRICT, WITHOUT ROWID;
)sql";

// Records begin with the next step of a job. Texts are long, so the table has row ids.
constexpr const char* kStepRecords = R"sql(
ALTER TABLE jobs ADD COLUMN record_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN record_digest BLOB NOT NULL
  DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE jobs ADD COLUMN retained_from INTEGER NOT NULL DEFAULT 0;

CREATE TABLE step_records(
  job INTEGER NOT NULL REFERENCES jobs,
  sequence INTEGER NOT NULL,
  step INTEGER NOT NULL,
  digest BLOB NOT NULL,
  blob_bytes INTEGER NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY(job, sequence)
) STRICT;
)sql";

// Jobs of before take the mean of whatever hosts there are.
constexpr const char* kAggregationAndNumerics = R"sql(
ALTER TABLE jobs ADD COLUMN hosts_min INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN is_pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN cpu_level TEXT NOT NULL DEFAULT '';
)sql";

constexpr const char* kRewinds = R"sql(
ALTER TABLE jobs ADD COLUMN removed_sample_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contributions ADD COLUMN undone_count INTEGER NOT NULL DEFAULT 0;
)sql";

constexpr const char* kAudit = R"sql(
ALTER TABLE tokens ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE invitations ADD COLUMN is_revoked INTEGER NOT NULL DEFAULT 0;

CREATE TABLE audit(
  sequence INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,
  account_id INTEGER NOT NULL REFERENCES accounts,
  token_id INTEGER NOT NULL REFERENCES tokens,
  action TEXT NOT NULL
) STRICT;
)sql";

constexpr std::array kMigrations{kFirstTables, kThreadsAndWaste,        kChecksAndCredit,
                                 kStepRecords, kAggregationAndNumerics, kRewinds,
                                 kAudit};

Error too_new(std::int64_t version, std::int64_t known) {
  return fail(Errc::kFailedPrecondition,
              "database has schema version " + std::to_string(version) +
                  ", this program knows up to " + std::to_string(known) +
                  ": the folder was used by a newer version, install that one");
}

// What the migrations leave must hold together: a migration may make a table anew, which SQLite
// allows only while references are not looked at.
Status check_references(Database& database) {
  MH_TRY(Statement statement, database.prepare("PRAGMA foreign_key_check"));
  MH_TRY(const bool has_row, statement.step());
  if (!has_row) return {};
  return fail(Errc::kInternal, "a row of " + statement.text(0) + " would refer to a row of " +
                                   statement.text(2) + " that is not there");
}

Status run_migrations(Database& database, std::span<const char* const> list, std::int64_t from) {
  MH_TRY_VOID(database.execute("BEGIN IMMEDIATE"));
  for (auto next = static_cast<std::size_t>(from); next < list.size(); ++next) {
    if (auto done = database.execute(list[next]); !done) {
      return fail(done.error().code,
                  "schema version " + std::to_string(next + 1) + ": " + done.error().message);
    }
  }
  MH_TRY_VOID(check_references(database));
  return database.execute("PRAGMA user_version=" + std::to_string(list.size()) + ";COMMIT");
}

// Published under its name when it is whole.
Status keep_copy(Database& database, const std::filesystem::path& copy) {
  std::filesystem::path partial = copy;
  partial += ".partial";
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  Status done = copy_database(database, partial);
  if (done) done = publish_file(partial, copy);
  if (!done) std::filesystem::remove(partial, ignored);
  return done;
}

}  // namespace

std::span<const char* const> migrations() { return kMigrations; }

Result<std::int64_t> schema_version(Database& database) {
  MH_TRY(Statement pragma, database.prepare("PRAGMA user_version"));
  MH_TRY(const bool has_row, pragma.step());
  if (!has_row) return fail(Errc::kInternal, "database: PRAGMA user_version gives no row");
  return pragma.integer(0);
}

Status require_schema(Database& database) {
  MH_TRY(const std::int64_t version, schema_version(database));
  const auto known = static_cast<std::int64_t>(migrations().size());
  if (version > known) return too_new(version, known);
  if (version == known) return {};
  return fail(Errc::kFailedPrecondition,
              "database has schema version " + std::to_string(version) +
                  ", this program works with " + std::to_string(known) +
                  ": run 'manyhands-server migrate' on the folder first");
}

Result<Migration> migrate(Database& database, const std::filesystem::path& file,
                          std::span<const char* const> list) {
  Migration migration;
  MH_TRY(migration.from, schema_version(database));
  migration.to = static_cast<std::int64_t>(list.size());
  if (migration.from < 0 || migration.from > migration.to) {
    return too_new(migration.from, migration.to);
  }
  if (migration.from == migration.to) return migration;
  if (migration.from > 0) {
    migration.copy = file;
    migration.copy += ".version-" + std::to_string(migration.from);
    MH_TRY_VOID(keep_copy(database, migration.copy));
  }
  MH_TRY_VOID(database.execute("PRAGMA foreign_keys=OFF"));
  const Status done = run_migrations(database, list, migration.from);
  // Fails only if SQLite has rolled back already.
  if (!done) (void)database.execute("ROLLBACK");
  MH_TRY_VOID(database.execute("PRAGMA foreign_keys=ON"));
  if (done) return migration;
  return fail(done.error().code, "cannot bring the database from schema version " +
                                     std::to_string(migration.from) + " to " +
                                     std::to_string(migration.to) +
                                     ", it is as it was: " + done.error().message);
}

}  // namespace mh::server
