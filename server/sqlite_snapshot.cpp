// Reads everything that a start needs, in one read transaction. See sqlite_rows.h.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <unordered_set>
#include <utility>

#include "server/sqlite_codec.h"
#include "server/sqlite_rows.h"

namespace mh::server {
namespace {

// Ended results read beside those of living workunits, so that a report that is repeated across a
// restart is answered as before.
constexpr int kOldResultsMax = 4096;

// Ids of the workunits that a coordinator goes on with. JobState 1 and 2: running, paused.
// EvaluationState 1: pending. WorkKind 1: gradient, 2: evaluation. WorkunitState 4: dropped (a
// rewind leaves such of the present step).
constexpr const char* kLivingWorkunits = R"sql(
  SELECT w.id FROM jobs j JOIN workunits w ON w.job = j.id AND w.kind = 1 AND w.step = j.step
    WHERE j.state IN (1, 2) AND w.state <> 4
  UNION ALL
  SELECT w.id FROM jobs j
    JOIN evaluations e ON e.job = j.id AND e.state = 1
    JOIN workunits w ON w.job = j.id AND w.kind = 2 AND w.step = e.step
    WHERE j.state IN (1, 2) AND w.state <> 4
)sql";

template <class Row>
Result<void> read_all(Database& database, const std::string& tail, std::vector<Row>& rows) {
  MH_TRY(Statement statement, database.prepare(select_sql<Row>(tail)));
  MH_TRY(rows, read_rows<Row>(statement));
  return {};
}

// Or the number that the ids of a copy begin from (sqlite_whole.h, raise_ids).
Result<std::uint64_t> largest_id(Database& database, const std::string& table) {
  MH_TRY(Statement statement,
         database.prepare("SELECT max(coalesce((SELECT max(id) FROM " + table +
                          "), 0), coalesce((SELECT cast(value AS INTEGER) FROM settings "
                          "WHERE name = 'id_floor'), 0))"));
  MH_TRY(const bool has_row, statement.step());
  return has_row ? statement.natural(0) : 0;
}

// Results of the living workunits, then the newest others that are not leased.
Result<void> read_results(Database& database, scheduler::Snapshot& snapshot) {
  const std::string living = std::string("(") + kLivingWorkunits + ")";
  MH_TRY_VOID(read_all(database, "WHERE workunit IN " + living + " ORDER BY id", snapshot.results));
  std::unordered_set<WorkunitId> workunits;
  for (const scheduler::WorkunitRow& row : snapshot.workunits) workunits.insert(row.id);
  std::vector<scheduler::ResultRow> newest;
  MH_TRY_VOID(
      read_all(database, "ORDER BY id DESC LIMIT " + std::to_string(kOldResultsMax), newest));
  for (scheduler::ResultRow& row : newest) {
    if (row.state == scheduler::ResultState::kLeased || workunits.contains(row.workunit)) continue;
    snapshot.results.push_back(std::move(row));
  }
  return {};
}

// Of each job those whose blobs are kept.
Result<void> read_records(Database& database, scheduler::Snapshot& snapshot) {
  MH_TRY(Statement statement, database.prepare(select_sql<scheduler::StepRecordRow>(
                                  "WHERE job=?1 AND sequence>=?2 ORDER BY sequence")));
  for (const scheduler::JobRow& job : snapshot.jobs) {
    if (job.retained_from == job.record_count) continue;
    statement.bind(1, job.id.value()).bind(2, job.retained_from);
    MH_TRY(auto rows, read_rows<scheduler::StepRecordRow>(statement));
    if (rows.size() != job.record_count - job.retained_from) {
      return fail(Errc::kDataLoss, "database: job " + to_string(job.id) + " lacks step records");
    }
    std::move(rows.begin(), rows.end(), std::back_inserter(snapshot.records));
    statement.reset();
  }
  return {};
}

Result<void> read_scheduler(Database& database, scheduler::Snapshot& snapshot) {
  MH_TRY_VOID(read_all(database, "ORDER BY id", snapshot.jobs));
  MH_TRY_VOID(read_all(database, "ORDER BY id", snapshot.hosts));
  MH_TRY_VOID(read_all(database, "ORDER BY job, step", snapshot.evaluations));
  // There is one for each host that ever took part in a job; of ended jobs only those are needed
  // that may change.
  MH_TRY_VOID(read_all(database,
                       "WHERE job IN (SELECT id FROM jobs WHERE state IN (1, 2)) OR "
                       "credit_held > 0 ORDER BY job, host",
                       snapshot.contributions));
  MH_TRY_VOID(read_all(database, "WHERE job IN (SELECT id FROM jobs WHERE state IN (1, 2))",
                       snapshot.agreements));
  MH_TRY_VOID(read_all(database, "WHERE is_kept ORDER BY job, step", snapshot.checkpoints));
  MH_TRY_VOID(read_records(database, snapshot));
  MH_TRY_VOID(read_all(database, std::string("WHERE id IN (") + kLivingWorkunits + ") ORDER BY id",
                       snapshot.workunits));
  MH_TRY_VOID(read_results(database, snapshot));
  MH_TRY(const std::uint64_t last_workunit, largest_id(database, "workunits"));
  MH_TRY(const std::uint64_t last_result, largest_id(database, "results"));
  snapshot.last_workunit = WorkunitId(last_workunit);
  snapshot.last_result = ResultId(last_result);
  MH_TRY(Statement ledger, database.prepare("SELECT coalesce(max(sequence), 0) FROM credit"));
  MH_TRY(const bool has_entry, ledger.step());
  if (has_entry) snapshot.last_credit = ledger.natural(0);
  return {};
}

Result<void> read_server(Database& database, ServerSnapshot& snapshot) {
  MH_TRY(Statement setting,
         database.prepare("SELECT value FROM settings WHERE name = 'server_id'"));
  MH_TRY(const bool has_id, setting.step());
  if (!has_id) {
    return fail(Errc::kDataLoss,
                "database has no server id: it was not made by \"manyhands-server init\"");
  }
  snapshot.server_id = setting.text(0);
  setting.reset();
  MH_TRY_VOID(read_all(database, "ORDER BY id", snapshot.accounts.accounts));
  MH_TRY_VOID(read_all(database, "ORDER BY id", snapshot.accounts.tokens));
  MH_TRY_VOID(read_all(database, "ORDER BY id", snapshot.accounts.invitations));
  MH_TRY_VOID(read_all(database, "", snapshot.accounts.host_secrets));
  MH_TRY_VOID(read_all(database, "ORDER BY name", snapshot.datasets));
  MH_TRY(Statement audit, database.prepare("SELECT coalesce(max(sequence), 0) FROM audit"));
  MH_TRY(const bool has_audit, audit.step());
  if (has_audit) snapshot.accounts.audit_count = audit.natural(0);
  MH_TRY(Statement sources,
         database.prepare("SELECT job_id, request_id, '', dataset FROM job_sources ORDER BY 1"));
  MH_TRY(snapshot.job_sources, read_rows<JobSourceRow>(sources));
  return {};
}

}  // namespace

Result<ServerSnapshot> read_snapshot_in_transaction(Database& database) {
  ServerSnapshot snapshot;
  MH_TRY_VOID(read_server(database, snapshot));
  MH_TRY_VOID(read_scheduler(database, snapshot.scheduler));
  return snapshot;
}

Result<ServerSnapshot> read_snapshot(Database& database) {
  MH_TRY_VOID(database.execute("BEGIN"));
  Result<ServerSnapshot> snapshot = read_snapshot_in_transaction(database);
  const Result<void> ended = database.execute("COMMIT");
  if (snapshot) MH_TRY_VOID(ended);
  return snapshot;
}

}  // namespace mh::server
