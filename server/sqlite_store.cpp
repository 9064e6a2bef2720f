// See sqlite_store.h. Queue, group commit and threads; the tables are in sqlite_rows.cpp, the
// history queries in sqlite_history.cpp.
#include "server/sqlite_store.h"

#include <cstdlib>

#include "proto/base/log.h"
#include "server/sqlite_schema.h"

namespace mh::server {

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
    if (auto written = write_group(group); !written) {
      log_error(
          "cannot commit: stopping, because memory must not be ahead of the disk; nothing "
          "that was acknowledged is lost, start again once the cause is gone",
          {{"error", written.error().message}});
      std::abort();
    }
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
  std::size_t written = 0;
  while (take_queued(group)) {
    for (; written < group.size(); ++written) {
      MH_TRY_VOID(rows_->write(group[written].transaction));
    }
  }
  return commit_.run();
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
