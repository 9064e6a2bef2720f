// See sqlite_whole.h.
#include "server/sqlite_whole.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>

#include "proto/base/file.h"
#include "proto/base/step_record.h"
#include "server/sqlite_codec.h"
#include "server/sqlite_rows.h"

namespace mh::server {
namespace {

// Pages copied between two calls of `copied`: some 16 MiB.
constexpr int kPagesAtOnce = 4096;
// Credit is summed in the order of the reports, here in the order of the rows.
constexpr double kCreditTolerance = 1e-6;

void add(std::vector<std::string>& problems, std::string text) {
  if (problems.size() < kDatabaseProblemsMax) problems.push_back(std::move(text));
}

bool is_close(double claimed, double earned) {
  return std::abs(claimed - earned) <= kCreditTolerance * (1 + std::abs(earned));
}

// Every valid result stands in the contribution of its host to its job, and nothing else does.
// WorkKind 1: gradient, 2: evaluation. ResultState 2: valid, 9: agreed, 10: undone.
constexpr const char* kContributions = R"sql(
  WITH counted AS (
    SELECT r.job AS job, r.host AS host, count(*) AS valid_count, sum(r.credit) AS credit,
           sum(CASE WHEN w.kind = 1 AND r.state = 2
                    THEN w.range_end - w.range_begin ELSE 0 END) AS sample_count
      FROM results r JOIN workunits w ON w.id = r.workunit
      WHERE r.state IN (2, 9, 10) GROUP BY r.job, r.host)
  SELECT c.job, c.host, c.valid_count, coalesce(k.valid_count, 0), c.sample_count,
         coalesce(k.sample_count, 0), c.credit + c.credit_held + c.credit_forfeited,
         coalesce(k.credit, 0)
    FROM contributions c LEFT JOIN counted k ON k.job = c.job AND k.host = c.host
  UNION ALL
  SELECT k.job, k.host, 0, k.valid_count, 0, k.sample_count, 0, k.credit
    FROM counted k LEFT JOIN contributions c ON k.job = c.job AND k.host = c.host
    WHERE c.job IS NULL
)sql";

Status check_contributions(Database& database, std::vector<std::string>& problems) {
  MH_TRY(Statement statement, database.prepare(kContributions));
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) return {};
    const std::string whose = "job " + std::to_string(statement.natural(0)) + ", host " +
                              std::to_string(statement.natural(1)) + ": ";
    if (statement.integer(2) != statement.integer(3)) {
      add(problems, whose + std::to_string(statement.integer(2)) + " valid results counted, " +
                        std::to_string(statement.integer(3)) + " are there");
    }
    if (statement.integer(4) != statement.integer(5)) {
      add(problems, whose + std::to_string(statement.integer(4)) + " samples counted, " +
                        std::to_string(statement.integer(5)) + " are in its valid results");
    }
    const double claimed = statement.real(6);
    const double earned = statement.real(7);
    if (!is_close(claimed, earned)) {
      add(problems, whose + "credit is " + std::to_string(claimed) + ", its valid results earned " +
                        std::to_string(earned));
    }
  }
}

// What stands at a host is the sum over its jobs.
constexpr const char* kHosts = R"sql(
  SELECT h.id, h.valid_count, coalesce(k.valid_count, 0), h.lost_count, coalesce(k.lost_count, 0),
         h.credit, coalesce(k.credit, 0)
    FROM hosts h LEFT JOIN (
      SELECT host, sum(valid_count) AS valid_count, sum(lost_count) AS lost_count,
             sum(credit) AS credit FROM contributions GROUP BY host) k ON k.host = h.id
)sql";

Status check_hosts(Database& database, std::vector<std::string>& problems) {
  MH_TRY(Statement statement, database.prepare(kHosts));
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) return {};
    const bool is_right = statement.integer(1) == statement.integer(2) &&
                          statement.integer(3) == statement.integer(4) &&
                          is_close(statement.real(5), statement.real(6));
    if (is_right) continue;
    add(problems, "host " + std::to_string(statement.natural(0)) + ": " +
                      std::to_string(statement.integer(1)) + " valid and " +
                      std::to_string(statement.integer(3)) + " lost results and credit " +
                      std::to_string(statement.real(5)) + ", its jobs say " +
                      std::to_string(statement.integer(2)) + ", " +
                      std::to_string(statement.integer(4)) + " and " +
                      std::to_string(statement.real(6)));
  }
}

// The last balance in the ledger is what a contribution says is booked, and no entry's balance is
// other than the one before and the entry make it. CreditKind 1: granted, 3: withdrawn.
constexpr const char* kLedger = R"sql(
  WITH entries AS (
    SELECT job, host, sequence, balance,
           coalesce(lag(balance) OVER same, 0) + CASE kind WHEN 1 THEN gflop WHEN 3 THEN -gflop
             ELSE 0 END AS expected,
           row_number() OVER (PARTITION BY job, host ORDER BY sequence DESC) AS from_end
      FROM credit WINDOW same AS (PARTITION BY job, host ORDER BY sequence))
  SELECT job, host, 'entry ' || sequence, balance, expected FROM entries
    WHERE abs(balance - expected) > 1e-6 * (1 + abs(expected))
  UNION ALL
  SELECT c.job, c.host, 'the last entry', coalesce(e.balance, 0), c.credit_booked
    FROM contributions c
    LEFT JOIN entries e ON e.job = c.job AND e.host = c.host AND e.from_end = 1
    WHERE abs(coalesce(e.balance, 0) - c.credit_booked) > 1e-6 * (1 + abs(c.credit_booked))
)sql";

Status check_ledger(Database& database, std::vector<std::string>& problems) {
  MH_TRY(Statement statement, database.prepare(kLedger));
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) return {};
    add(problems, "ledger of job " + std::to_string(statement.natural(0)) + ", host " +
                      std::to_string(statement.natural(1)) + ": " + statement.text(2) +
                      " has balance " + std::to_string(statement.real(3)) + ", expected " +
                      std::to_string(statement.real(4)));
  }
}

Status check_samples(Database& database, std::vector<std::string>& problems) {
  MH_TRY(Statement statement,
         database.prepare("SELECT id, step * batch, removed_sample_count FROM jobs ORDER BY id"));
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) return {};
    const JobId job(statement.natural(0));
    MH_TRY(const SampleCoverage coverage, read_coverage(database, job, statement.natural(1)));
    const std::uint64_t removed = statement.natural(2);
    if (coverage.doubled == 0 && coverage.missing == removed) continue;
    add(problems, "job " + to_string(job) + ": of its finished steps " +
                      std::to_string(coverage.missing) + " samples are counted nowhere and " +
                      std::to_string(coverage.doubled) + " more than once; " +
                      std::to_string(removed) + " were taken out");
  }
}

// What is wrong with the records of a job; empty: nothing.
Result<std::string> record_fault(Database& database, const scheduler::JobRow& job) {
  MH_TRY(Statement statement,
         database.prepare(select_sql<scheduler::StepRecordRow>("WHERE job=?1 ORDER BY sequence")));
  statement.bind(1, job.id.value());
  RecordChain chain;
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) break;
    MH_TRY(const auto row, read_row<scheduler::StepRecordRow>(statement));
    const std::string which = "record " + std::to_string(row.sequence) + " (step " +
                              std::to_string(row.step) + ") of job " + to_string(job.id) + ": ";
    if (sha256(row.record) != row.digest) return which + "its text is not what was signed";
    if (const auto taken = chain.add(row.record); !taken) return which + taken.error().message;
  }
  if (chain.count() == job.record_count && chain.head() == job.record_digest) return std::string();
  return "job " + to_string(job.id) + " has written " + std::to_string(job.record_count) +
         " step records, " + std::to_string(chain.count()) + " are there";
}

// The other side of sqlite3_backup; closed whatever happens.
class Copying {
 public:
  Copying(sqlite3* source, const std::filesystem::path& target) {
    code_ =
        sqlite3_open_v2(target.c_str(), &target_,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    // Made durable at the end; a copy that was cut is thrown away.
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_exec(target_, "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF", nullptr,
                           nullptr, nullptr);
    }
    if (code_ == SQLITE_OK) backup_ = sqlite3_backup_init(target_, "main", source, "main");
    if (code_ == SQLITE_OK && backup_ == nullptr) code_ = sqlite3_errcode(target_);
  }
  ~Copying() {
    sqlite3_backup_finish(backup_);
    sqlite3_close(target_);
  }
  Copying(const Copying&) = delete;
  Copying& operator=(const Copying&) = delete;

  // SQLITE_DONE when all pages are copied.
  int run(const PagesCopied& copied) {
    while (code_ == SQLITE_OK) {
      code_ = sqlite3_backup_step(backup_, kPagesAtOnce);
      const auto all = static_cast<std::uint64_t>(sqlite3_backup_pagecount(backup_));
      const auto left = static_cast<std::uint64_t>(sqlite3_backup_remaining(backup_));
      if (copied) copied(all - left, all);
    }
    return code_;
  }

 private:
  sqlite3* target_ = nullptr;
  sqlite3_backup* backup_ = nullptr;
  int code_ = SQLITE_OK;
};

}  // namespace

Result<std::vector<std::string>> damage_of(Database& database, bool is_quick) {
  std::vector<std::string> problems;
  const std::string check = is_quick ? "PRAGMA quick_check(" : "PRAGMA integrity_check(";
  MH_TRY(Statement statement, database.prepare(check + std::to_string(kDatabaseProblemsMax) + ")"));
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) break;
    if (statement.text(0) != "ok") add(problems, statement.text(0));
  }
  MH_TRY(Statement keys, database.prepare("PRAGMA foreign_key_check"));
  for (;;) {
    MH_TRY(const bool has_row, keys.step());
    if (!has_row) return problems;
    add(problems, "a row of " + keys.text(0) + " (" + std::to_string(keys.integer(1)) +
                      ") refers to a row of " + keys.text(2) + " that is not there");
  }
}

Result<std::vector<std::string>> miscounts_of(Database& database) {
  std::vector<std::string> problems;
  MH_TRY_VOID(check_contributions(database, problems));
  MH_TRY_VOID(check_hosts(database, problems));
  MH_TRY_VOID(check_ledger(database, problems));
  MH_TRY_VOID(check_samples(database, problems));
  return problems;
}

Result<std::vector<std::string>> record_faults_of(Database& database) {
  std::vector<std::string> problems;
  MH_TRY(Statement statement, database.prepare(select_sql<scheduler::JobRow>("ORDER BY id")));
  MH_TRY(const auto jobs, read_rows<scheduler::JobRow>(statement));
  for (const scheduler::JobRow& job : jobs) {
    MH_TRY(const std::string fault, record_fault(database, job));
    if (!fault.empty()) add(problems, fault);
  }
  return problems;
}

Status copy_database(Database& source, const std::filesystem::path& target,
                     const PagesCopied& copied) {
  UniqueFd file(::open(target.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot create", target, errno);
  const int code = Copying(source.handle(), target).run(copied);
  if (code != SQLITE_DONE) {
    const Errc errc = (code & 0xff) == SQLITE_FULL ? Errc::kResourceExhausted : Errc::kInternal;
    return fail(errc,
                "cannot copy the database to " + target.string() + ": " + sqlite3_errstr(code));
  }
  if (::fsync(file.get()) != 0) return errno_error("cannot fsync", target, errno);
  return fsync_dir(target.parent_path());
}

Status raise_ids(Database& database) {
  return database.execute(
      "INSERT INTO settings(name, value) "
      "SELECT 'id_floor', cast(" +
      std::to_string(kRaisedIdsBy) +
      " + max(coalesce((SELECT max(id) FROM workunits), 0), "
      "coalesce((SELECT max(id) FROM results), 0), "
      "coalesce((SELECT cast(value AS INTEGER) FROM settings WHERE name = 'id_floor'), 0)) AS "
      "TEXT) "
      "WHERE true ON CONFLICT(name) DO UPDATE SET value = excluded.value");
}

}  // namespace mh::server
