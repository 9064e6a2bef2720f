// See sqlite_store.h. Queue, group commit and threads; the tables are in sqlite_rows.cpp, the
// history queries in sqlite_history.cpp.
#include "server/sqlite_store.h"

#include <cstdlib>
#include <utility>

#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "server/sqlite_schema.h"

namespace mh::server {
namespace {

KillPoint before_commit("store.before_commit");
KillPoint after_commit("store.after_commit");

}  // namespace

Result<void> SqliteStore::create(const std::filesystem::path& file, const std::string& server_id) {
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    return fail(Errc::kAlreadyExists, file.string() + " exists already");
  }
  MH_TRY(Database database, Database::open(file, Database::Mode::kCreate));
  MH_TRY_VOID(migrate(database, file));
  MH_TRY(Statement insert,
         database.prepare("INSERT INTO settings(name, value) VALUES('server_id', ?1)"));
  return insert.bind(1, server_id).run();
}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::filesystem::path& file,
                                                       const SqliteStoreOptions& options) {
  std::unique_ptr<SqliteStore> store(new SqliteStore(options));
  MH_TRY(store->writer_, Database::open(file, Database::Mode::kReadWrite));
  MH_TRY(const Migration migration, migrate(store->writer_, file));
  if (!migration.copy.empty()) {
    log_info("database migrated",
             {{"from", migration.from}, {"to", migration.to}, {"copy", migration.copy.string()}});
  }
  // Checkpoints are the checkpointer's business; SQLite's own remain as a far limit.
  MH_TRY_VOID(store->writer_.execute("PRAGMA wal_autocheckpoint=16000"));
  MH_TRY(store->rows_, RowWriter::prepare(store->writer_));
  MH_TRY(store->begin_, store->writer_.prepare("BEGIN IMMEDIATE"));
  MH_TRY(store->commit_, store->writer_.prepare("COMMIT"));
  MH_TRY(store->checkpointer_, Database::open(file, Database::Mode::kReadWrite));
  MH_TRY(store->reader_, Database::open(file, Database::Mode::kReadOnly));
  store->writer_thread_ = std::thread([self = store.get()] { self->run_writer(); });
  store->checkpointer_thread_ = std::thread([self = store.get()] { self->run_checkpointer(); });
  return store;
}

SqliteStore::~SqliteStore() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  arrived_.notify_all();
  stopped_.notify_all();
  if (writer_thread_.joinable()) writer_thread_.join();
  if (checkpointer_thread_.joinable()) checkpointer_thread_.join();
}

void SqliteStore::commit(Transaction transaction, std::function<void()> committed) {
  {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [this] { return queue_.size() < options_.queue_max; });
    queue_.push_back(Pending{std::move(transaction), std::move(committed)});
  }
  arrived_.notify_one();
}

void SqliteStore::run_writer() {
  for (;;) {
    std::deque<Pending> group;
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return is_stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
    }
    write_patiently(group);
    {
      const std::lock_guard lock(mutex_);
      counts_.transitions += group.size();
      counts_.groups += 1;
    }
    for (Pending& pending : group) {
      if (pending.committed) pending.committed();
    }
  }
}

void SqliteStore::write_patiently(std::deque<Pending>& group) {
  bool is_stalled = false;
  for (;;) {
    const Result<void> written = write_group(group);
    if (written) break;
    if (written.error().code != Errc::kResourceExhausted) {
      log_error(
          "cannot commit: stopping, because memory must not be ahead of the disk; nothing "
          "that was acknowledged is lost, start again once the cause is gone",
          {{"error", written.error().message}});
      std::abort();
    }
    if (!std::exchange(is_stalled, true)) {
      log_error("no room to commit: waiting for it; until then nobody is answered",
                {{"error", written.error().message}});
      if (stalls_) stalls_(true);
    }
    std::unique_lock lock(mutex_);
    if (stopped_.wait_for(lock, kRetryPause, [this] { return is_stopping_; })) {
      log_error(
          "stopping without the last transitions: there is no room for them, and nobody was "
          "told of them");
      std::_Exit(1);
    }
  }
  if (!is_stalled) return;
  log_info("the database has room again");
  if (stalls_) stalls_(false);
}

bool SqliteStore::take_queued(std::deque<Pending>& group) {
  const std::size_t before = group.size();
  {
    const std::lock_guard lock(mutex_);
    while (!queue_.empty() && group.size() < options_.group_max) {
      group.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
  }
  taken_.notify_all();
  return group.size() > before;
}

Result<void> SqliteStore::write_group(std::deque<Pending>& group) {
  MH_TRY_VOID(begin_.run());
  Result<void> done = write_rows(group);
  // Fails only if SQLite has rolled back already.
  if (!done) (void)writer_.execute("ROLLBACK");
  return done;
}

Result<void> SqliteStore::write_rows(std::deque<Pending>& group) {
  std::size_t written = 0;
  do {
    for (; written < group.size(); ++written) {
      MH_TRY_VOID(rows_->write(group[written].transaction));
    }
  } while (take_queued(group));
  before_commit.pass();
  MH_TRY_VOID(commit_.run());
  after_commit.pass();
  return {};
}

void SqliteStore::run_checkpointer() {
  std::unique_lock lock(mutex_);
  std::uint64_t done = 0;
  while (!is_stopping_) {
    stopped_.wait_for(lock, options_.checkpoint_interval, [this] { return is_stopping_; });
    if (counts_.groups == done) continue;
    done = counts_.groups;
    lock.unlock();
    if (auto result = checkpointer_.checkpoint_passive(); !result) {
      log_warn("checkpoint failed", {{"error", result.error().message}});
    }
    lock.lock();
  }
}

SqliteStore::Counts SqliteStore::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

Result<ServerSnapshot> SqliteStore::load() {
  const std::lock_guard lock(reader_mutex_);
  return read_snapshot(reader_);
}

}  // namespace mh::server
