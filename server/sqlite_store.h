// The Store on SQLite: WAL, synchronous=FULL, one writer thread with group commit, a second
// connection for history, a third for checkpoints. SQL lives in server/sqlite_*.cpp only.
//
// Rules
// 1. The writer takes what is queued and what arrives while it writes, up to group_max transitions,
//    and commits it as one SQLite transaction. *Rationale:* the price of a commit is its fsync;
//    under load it is shared.
// 2. Callbacks run after the COMMIT, in the order of the calls to commit().
// 3. A group that finds no room (disk full) is rolled back and written again every kRetryPause
//    until there is room; `stalls` is told. *Rationale:* nobody has been answered, so waiting
//    breaks no promise, and a server that ended would not start again on a full disk either.
//    One that cannot be written for another reason ends the process (MH_CHECK's way: log, abort).
//    *Rationale:* the coordinator has already decided on top of it; going on would answer callers
//    from a state that a restart would not know. And after an fsync that failed no later one can
//    be believed: only a restart sees what is really there.
// 4. Nobody checkpoints inside a commit: the checkpointer does, every checkpoint_interval.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "server/sqlite_database.h"
#include "server/sqlite_rows.h"
#include "server/store.h"

namespace mh::server {

struct SqliteStoreOptions {
  // Most transitions in one SQLite transaction. Measured (tests/bench/store_bench,
  // docs/testing.md).
  std::size_t group_max = 256;
  // Transitions that wait; commit() blocks beyond.
  std::size_t queue_max = 8192;
  std::chrono::seconds checkpoint_interval{5};
};

class SqliteStore final : public Store {
 public:
  static constexpr std::chrono::seconds kRetryPause{1};

  // Makes a new database. Errors: kAlreadyExists (there is one), kInternal.
  static Result<void> create(const std::filesystem::path& file, const std::string& server_id);
  // Opens and migrates. Errors: kNotFound, kFailedPrecondition (newer schema), kInternal.
  static Result<std::unique_ptr<SqliteStore>> open(const std::filesystem::path& file,
                                                   const SqliteStoreOptions& options = {});
  // Writes what is queued, runs its callbacks, checkpoints and closes. Without room for it: ends
  // the process with exit code 1.
  ~SqliteStore() override;

  // Told on the store's thread: true when a group finds no room, false when it is written after
  // all. Set before the first commit.
  void on_stall(std::function<void(bool is_stalled)> stalls) { stalls_ = std::move(stalls); }

  void commit(Transaction transaction, std::function<void()> committed) override;
  Result<ServerSnapshot> load() override;
  Result<std::vector<scheduler::StepRow>> steps(JobId job, std::uint64_t from_step,
                                                std::uint64_t point_max) override;
  Result<std::vector<scheduler::StepRecordRow>> records(JobId job, std::uint64_t from_sequence,
                                                        std::uint64_t count_max,
                                                        std::uint64_t bytes_max) override;
  Result<std::vector<scheduler::EvaluationRow>> evaluations(JobId job) override;
  Result<std::vector<scheduler::JobLogRow>> log(JobId job, std::uint64_t entry_max) override;
  Result<std::vector<scheduler::HostLogRow>> host_log(HostId host,
                                                      std::uint64_t entry_max) override;
  Result<std::string> yaml(JobId job) override;
  Result<std::vector<AuditRow>> audit(std::uint64_t entry_max) override;
  Result<std::vector<scheduler::ContributionRow>> contributions(JobId job) override;
  Result<scheduler::RewindPast> past(JobId job, std::uint64_t step) override;
  Result<SampleCoverage> coverage(JobId job, std::uint64_t positions) override;

  // Transitions committed, and SQLite transactions that took; for metrics and tests.
  struct Counts {
    std::uint64_t transitions = 0;
    std::uint64_t groups = 0;
  };
  Counts counts() const;

 private:
  struct Pending {
    Transaction transaction;
    std::function<void()> committed;
  };

  explicit SqliteStore(const SqliteStoreOptions& options) : options_(options) {}
  void run_writer();
  void run_checkpointer();
  // Moves what is queued to the end of the group, up to group_max; false: nothing.
  bool take_queued(std::deque<Pending>& group);
  // Writes a group, what is queued, and what arrives while it is written, as one SQLite
  // transaction; rolled back after an error.
  Result<void> write_group(std::deque<Pending>& group);
  Result<void> write_rows(std::deque<Pending>& group);
  // The same, until there is room.
  void write_patiently(std::deque<Pending>& group);

  const SqliteStoreOptions options_;
  // Constant once it commits.
  std::function<void(bool is_stalled)> stalls_;
  // Owned by the writer thread once it runs.
  Database writer_;
  std::unique_ptr<RowWriter> rows_;
  Statement begin_;
  Statement commit_;
  // Owned by the checkpointer thread.
  Database checkpointer_;

  std::mutex reader_mutex_;
  // Guarded by reader_mutex_.
  Database reader_;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable taken_;
  std::condition_variable stopped_;
  // Guarded by mutex_.
  std::deque<Pending> queue_;
  Counts counts_;
  bool is_stopping_ = false;

  std::thread writer_thread_;
  std::thread checkpointer_thread_;
};

}  // namespace mh::server
