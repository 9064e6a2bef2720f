// The questions of SqliteStore about history. They run on the reading connection, so that they
// never wait for a commit, nor a commit for them.
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/sqlite_codec.h"
#include "server/sqlite_store.h"

namespace mh::server {
namespace {

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Ranges of the sample stream whose gradients counted, once per valid result (WorkKind 1: gradient,
// ResultState 2: valid). Both tables are read by index alone.
Result<std::vector<Range>> counted_ranges(Database& database, JobId job) {
  MH_TRY(Statement statement,
         database.prepare("SELECT w.range_begin, w.range_end "
                          "FROM workunits w INDEXED BY workunit_ranges "
                          "CROSS JOIN results r INDEXED BY counted_results ON r.workunit = w.id "
                          "WHERE w.job = ?1 AND w.kind = 1 AND r.state = 2"));
  statement.bind(1, job.value());
  std::vector<Range> ranges;
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) break;
    ranges.push_back(Range{statement.natural(0), statement.natural(1)});
  }
  const auto is_before = [](const Range& a, const Range& b) { return a.begin < b.begin; };
  if (!std::is_sorted(ranges.begin(), ranges.end(), is_before)) {
    std::sort(ranges.begin(), ranges.end(), is_before);
  }
  return ranges;
}

// One pass over ranges sorted by begin. `once` and `twice` are the ends of what is covered at least
// once and at least twice so far; positions before `twice` are settled.
SampleCoverage cover(const std::vector<Range>& ranges, std::uint64_t positions) {
  SampleCoverage coverage;
  std::uint64_t once = 0;
  std::uint64_t twice = 0;
  for (const Range& range : ranges) {
    const std::uint64_t end = std::min(range.end, positions);
    if (range.begin >= end) continue;
    const std::uint64_t repeated_begin = std::max(range.begin, twice);
    const std::uint64_t repeated_end = std::min(end, once);
    if (repeated_begin < repeated_end) {
      coverage.doubled += repeated_end - repeated_begin;
      twice = repeated_end;
    }
    if (end > once) {
      coverage.counted += end - std::max(range.begin, once);
      once = end;
    }
  }
  coverage.missing = positions - coverage.counted;
  return coverage;
}

// First and last step of a job from a step on; false: there is none. Those that the job has yet to
// do again after a rewind are not among them.
Result<bool> step_bounds(Database& database, JobId job, std::uint64_t from_step, Range& bounds) {
  MH_TRY(Statement statement,
         database.prepare("SELECT min(step), max(step) FROM steps WHERE job=?1 AND step>=?2 "
                          "AND step < (SELECT step FROM jobs WHERE id=?1)"));
  statement.bind(1, job.value()).bind(2, from_step);
  MH_TRY(const bool has_row, statement.step());
  if (!has_row || statement.is_null(0)) return false;
  bounds = Range{statement.natural(0), statement.natural(1)};
  return true;
}

template <class Row>
Result<std::vector<Row>> rows_of(Database& database, JobId job, const std::string& order = "") {
  MH_TRY(Statement statement, database.prepare(select_sql<Row>("WHERE job=?1" + order)));
  return read_rows<Row>(statement.bind(1, job.value()));
}

// What a rewind looks at; `tail` may use the job's id, ?1, and the step, ?2.
template <class Row>
Result<std::vector<Row>> rows_from(Database& database, const std::string& tail, JobId job,
                                   std::uint64_t step) {
  MH_TRY(Statement statement, database.prepare(select_sql<Row>(tail)));
  return read_rows<Row>(statement.bind(1, job.value()).bind(2, step));
}

// The newest entries of a log, oldest first; `where` may use the id of whose it is, ?2.
template <class Row>
Result<std::vector<Row>> newest_entries(Database& database, const std::string& where,
                                        std::uint64_t owner, std::uint64_t entry_max) {
  MH_TRY(Statement statement,
         database.prepare(select_sql<Row>(where + " ORDER BY sequence DESC LIMIT ?1")));
  statement.bind(1, std::min<std::uint64_t>(entry_max, INT64_MAX));
  if (!where.empty()) statement.bind(2, owner);
  MH_TRY(std::vector<Row> entries, read_rows<Row>(statement));
  std::reverse(entries.begin(), entries.end());
  return entries;
}

Result<scheduler::RewindPast> read_past(Database& database, JobId job, std::uint64_t step) {
  step = std::min<std::uint64_t>(step, INT64_MAX);
  // WorkunitState 3: done.
  const std::string done = "job=?1 AND state=3 AND ((kind=1 AND step>=?2) OR (kind=2 AND step>?2))";
  scheduler::RewindPast past;
  MH_TRY(past.workunits, rows_from<scheduler::WorkunitRow>(
                             database, "WHERE " + done + " ORDER BY canonical", job, step));
  MH_TRY(
      past.results,
      rows_from<scheduler::ResultRow>(
          database, "WHERE id IN (SELECT canonical FROM workunits WHERE " + done + ") ORDER BY id",
          job, step));
  const bool fits = std::equal(
      past.workunits.begin(), past.workunits.end(), past.results.begin(), past.results.end(),
      [](const auto& workunit, const auto& result) { return workunit.canonical == result.id; });
  if (!fits)
    return fail(Errc::kDataLoss, "database: job " + to_string(job) + " lacks results that count");
  MH_TRY(past.evaluations, rows_of<scheduler::EvaluationRow>(database, job));
  MH_TRY(past.contributions, rows_of<scheduler::ContributionRow>(database, job));
  MH_TRY(past.agreements, rows_of<scheduler::AgreementRow>(database, job));
  return past;
}

}  // namespace

Result<SampleCoverage> read_coverage(Database& database, JobId job, std::uint64_t positions) {
  MH_TRY(const std::vector<Range> ranges, counted_ranges(database, job));
  return cover(ranges, positions);
}

Result<std::vector<scheduler::StepRow>> SqliteStore::steps(JobId job, std::uint64_t from_step,
                                                           std::uint64_t point_max) {
  std::vector<scheduler::StepRow> points;
  from_step = std::min<std::uint64_t>(from_step, INT64_MAX);
  if (point_max == 0) return points;
  const std::lock_guard lock(reader_mutex_);
  Range bounds;
  MH_TRY(const bool has_steps, step_bounds(reader_, job, from_step, bounds));
  if (!has_steps) return points;
  const std::uint64_t last = bounds.end;
  const std::uint64_t stride = (last - bounds.begin) / point_max + 1;
  // Counted back from the last step, so that it is always there.
  std::uint64_t next = bounds.begin + (last - bounds.begin) % stride;
  MH_TRY(Statement statement, reader_.prepare(select_sql<scheduler::StepRow>(
                                  "WHERE job=?1 AND step>=?2 AND step<=?3 ORDER BY step" +
                                  std::string(stride == 1 ? "" : " LIMIT 1"))));
  statement.bind(1, job.value()).bind(3, last);
  if (stride == 1) return read_rows<scheduler::StepRow>(statement.bind(2, next));
  while (next <= last) {
    statement.bind(2, next);
    MH_TRY(std::vector<scheduler::StepRow> found, read_rows<scheduler::StepRow>(statement));
    for (scheduler::StepRow& row : found) {
      while (next <= row.step) next += stride;
      points.push_back(std::move(row));
    }
    if (found.empty()) break;
  }
  return points;
}

Result<std::vector<scheduler::StepRecordRow>> SqliteStore::records(JobId job,
                                                                   std::uint64_t from_sequence,
                                                                   std::uint64_t count_max,
                                                                   std::uint64_t bytes_max) {
  const std::lock_guard lock(reader_mutex_);
  MH_TRY(Statement statement, reader_.prepare(select_sql<scheduler::StepRecordRow>(
                                  "WHERE job=?1 AND sequence>=?2 ORDER BY sequence")));
  statement.bind(1, job.value()).bind(2, std::min<std::uint64_t>(from_sequence, INT64_MAX));
  std::vector<scheduler::StepRecordRow> rows;
  std::uint64_t bytes = 0;
  while (rows.size() < count_max) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) break;
    MH_TRY(scheduler::StepRecordRow row, read_row<scheduler::StepRecordRow>(statement));
    bytes += row.record.size();
    if (bytes > bytes_max && !rows.empty()) break;
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::vector<scheduler::EvaluationRow>> SqliteStore::evaluations(JobId job) {
  const std::lock_guard lock(reader_mutex_);
  return rows_of<scheduler::EvaluationRow>(reader_, job, " ORDER BY step");
}

Result<std::vector<scheduler::JobLogRow>> SqliteStore::log(JobId job, std::uint64_t entry_max) {
  const std::lock_guard lock(reader_mutex_);
  return newest_entries<scheduler::JobLogRow>(reader_, "WHERE job=?2", job.value(), entry_max);
}

Result<std::vector<scheduler::HostLogRow>> SqliteStore::host_log(HostId host,
                                                                 std::uint64_t entry_max) {
  const std::lock_guard lock(reader_mutex_);
  return newest_entries<scheduler::HostLogRow>(reader_, "WHERE host=?2", host.value(), entry_max);
}

Result<std::vector<AuditRow>> SqliteStore::audit(std::uint64_t entry_max) {
  const std::lock_guard lock(reader_mutex_);
  return newest_entries<AuditRow>(reader_, "", 0, entry_max);
}

Result<std::string> SqliteStore::yaml(JobId job) {
  const std::lock_guard lock(reader_mutex_);
  MH_TRY(Statement statement, reader_.prepare("SELECT yaml FROM job_sources WHERE job_id=?1"));
  statement.bind(1, job.value());
  MH_TRY(const bool has_row, statement.step());
  if (!has_row) return fail(Errc::kNotFound, "no job " + to_string(job));
  return statement.text(0);
}

Result<std::vector<scheduler::ContributionRow>> SqliteStore::contributions(JobId job) {
  const std::lock_guard lock(reader_mutex_);
  return rows_of<scheduler::ContributionRow>(reader_, job, " ORDER BY host");
}

Result<scheduler::RewindPast> SqliteStore::past(JobId job, std::uint64_t step) {
  const std::lock_guard lock(reader_mutex_);
  MH_TRY_VOID(reader_.execute("BEGIN"));
  Result<scheduler::RewindPast> past = read_past(reader_, job, step);
  const Result<void> ended = reader_.execute("COMMIT");
  if (past) MH_TRY_VOID(ended);
  return past;
}

Result<SampleCoverage> SqliteStore::coverage(JobId job, std::uint64_t positions) {
  const std::lock_guard lock(reader_mutex_);
  return read_coverage(reader_, job, positions);
}

}  // namespace mh::server
