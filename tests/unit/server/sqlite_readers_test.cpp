// Readers never wait for the writer, nor the writer for them; shown by holding one of them still.
#include <atomic>
#include <chrono>
#include <thread>

#include "server/sqlite_store.h"
#include "tests/unit/server/store_fixture.h"

namespace mh::server {
namespace {

using scheduler::ResultState;

// Far above what anything here takes, far below SQLite's time-out for a busy database (10 s).
constexpr std::chrono::seconds kNoWait{3};

class ReadersTest : public StoreTest {
 protected:
  ReadersTest() {
    scheduler::Changes changes;
    changes.jobs = {some_job(1)};
    changes.hosts = {some_host(1)};
    for (std::uint64_t i = 0; i < 4'000; ++i) {
      changes.workunits.push_back(some_workunit(i + 1, 1, i / 4, i % 4));
      changes.results.push_back(
          some_result(i + 1, changes.workunits.back(), 1, ResultState::kValid));
    }
    changes.log = {{JobId(1), 1, some_time(0), 0, "entry"}};
    commit_changes(std::move(changes));
  }

  Database connect(Database::Mode mode) { return Database::open(file(), mode).value(); }

  void commit_some(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      scheduler::Changes changes;
      changes.workunits = {some_workunit(10'000 + next_, 1, 1'000 + next_ / 4, next_ % 4)};
      ++next_;
      commit_changes(std::move(changes));
    }
  }

  static std::uint64_t count_workunits(Database& database) {
    Statement count = database.prepare("SELECT count(*) FROM workunits").value();
    EXPECT_TRUE(count.step().value());
    return count.natural(0);
  }

  std::uint64_t next_ = 0;
};

TEST_F(ReadersTest, CommitsGoOnWhileAReadIsUnderWay) {
  Database reader = connect(Database::Mode::kReadOnly);
  // In the middle of a read of all workunits, as coverage() makes it.
  ASSERT_TRUE(reader.execute("BEGIN"));
  Statement slow = reader.prepare("SELECT range_begin FROM workunits").value();
  ASSERT_TRUE(slow.step().value());
  Database checkpointer = connect(Database::Mode::kReadWrite);
  const auto begin = std::chrono::steady_clock::now();
  commit_some(200);
  EXPECT_TRUE(checkpointer.checkpoint_passive());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNoWait);
  // It sees its own moment to the end.
  std::uint64_t rows = 1;
  while (slow.step().value()) ++rows;
  EXPECT_EQ(rows, 4'000U);
  EXPECT_EQ(count_workunits(reader), 4'000U);
  ASSERT_TRUE(reader.execute("COMMIT"));
  EXPECT_EQ(count_workunits(reader), 4'200U);
}

TEST_F(ReadersTest, ReadsGoOnWhileATransactionIsBeingWritten) {
  Database writer = connect(Database::Mode::kReadWrite);
  ASSERT_TRUE(
      writer.execute("BEGIN IMMEDIATE; UPDATE jobs SET name = 'half'; DELETE FROM job_log"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(store_->coverage(JobId(1), 32'000).value().counted, 32'000U);
  EXPECT_EQ(store_->log(JobId(1), 10).value().size(), 1U);
  EXPECT_EQ(load().scheduler.jobs.at(0).name, "job 1");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNoWait);
  ASSERT_TRUE(writer.execute("ROLLBACK"));
}

TEST_F(ReadersTest, CommitsGoOnBesideCoverageOverAndOver) {
  std::atomic<bool> is_over = false;
  std::atomic<std::uint64_t> reads = 0;
  std::thread reader([&] {
    while (!is_over) {
      EXPECT_EQ(store_->coverage(JobId(1), 32'000).value().doubled, 0U);
      ++reads;
    }
  });
  commit_some(300);
  is_over = true;
  reader.join();
  EXPECT_GT(reads, 0U);
  EXPECT_EQ(load().scheduler.last_workunit, WorkunitId(10'299));
}

}  // namespace
}  // namespace mh::server
