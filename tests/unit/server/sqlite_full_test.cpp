// A database without room: nobody is told anything until there is room again, and then everything.
// The room is taken away below SQLite, in a VFS of the test's own.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "server/sqlite_store.h"
#include "tests/unit/server/store_fixture.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

// What xWrite returns instead of writing; SQLITE_OK: it writes.
std::atomic<int> write_result{SQLITE_OK};
sqlite3_vfs* real_vfs = nullptr;

// SQLite's methods of a file, with another xWrite. Files of different kinds have different ones.
struct Methods {
  const sqlite3_io_methods* real = nullptr;
  sqlite3_io_methods full;
};
std::array<Methods, 8> known_methods;

int write_or_fail(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  if (const int result = write_result; result != SQLITE_OK) return result;
  for (const Methods& methods : known_methods) {
    if (file->pMethods == &methods.full) return methods.real->xWrite(file, bytes, count, offset);
  }
  return SQLITE_INTERNAL;
}

// Null: there are more kinds than were thought of.
const sqlite3_io_methods* with_other_write(const sqlite3_io_methods* real) {
  for (Methods& methods : known_methods) {
    if (methods.real == nullptr) {
      methods.full = *real;
      methods.full.xWrite = write_or_fail;
      methods.real = real;
    }
    if (methods.real == real) return &methods.full;
  }
  return nullptr;
}

int open_with_methods(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
  const int result = real_vfs->xOpen(real_vfs, name, file, flags, out);
  if (result != SQLITE_OK || file->pMethods == nullptr) return result;
  // Files are opened on the test's thread, before the store's threads run.
  file->pMethods = with_other_write(file->pMethods);
  return file->pMethods != nullptr ? SQLITE_OK : SQLITE_INTERNAL;
}

class SqliteFullTest : public ::testing::Test {
 protected:
  SqliteFullTest() {
    real_vfs = sqlite3_vfs_find(nullptr);
    vfs_ = *real_vfs;
    vfs_.zName = "full";
    vfs_.xOpen = open_with_methods;
    sqlite3_vfs_register(&vfs_, 1);
    EXPECT_TRUE(SqliteStore::create(file(), "0123456789abcdef"));
    store_ = SqliteStore::open(file()).value();
    store_->on_stall([this](bool is_stalled) { stalls_ += is_stalled ? "full " : "free "; });
  }
  ~SqliteFullTest() override {
    write_result = SQLITE_OK;
    store_.reset();
    sqlite3_vfs_register(real_vfs, 1);
    sqlite3_vfs_unregister(&vfs_);
  }

  std::filesystem::path file() const { return folder_.path() / "manyhands.db"; }
  void commit(std::uint64_t id) {
    Transaction transaction;
    AccountRow row;
    row.id = id;
    row.name = "account-" + std::to_string(id);
    transaction.accounts.push_back(row);
    store_->commit(std::move(transaction), [this] { ++told_; });
  }
  void wait_for(int told) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (told_ < told && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(told_, told);
  }
  std::size_t stored() { return store_->load().value().accounts.accounts.size(); }

  TemporaryFolder folder_;
  sqlite3_vfs vfs_{};
  // Written by the store's thread; read after it has told, or has been stopped.
  std::string stalls_;
  std::atomic<int> told_{0};
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteFullTest, WaitsForRoomThenTellsEverybodyInOrder) {
  commit(1);
  wait_for(1);
  write_result = SQLITE_FULL;
  commit(2);
  commit(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(told_, 1) << "nobody hears of what is not on disk";
  EXPECT_EQ(stored(), 1u);
  write_result = SQLITE_OK;
  wait_for(3);
  EXPECT_EQ(stored(), 3u);
  EXPECT_EQ(store_->counts().transitions, 3u);
  store_.reset();
  EXPECT_EQ(stalls_, "full free ");
  store_ = SqliteStore::open(file()).value();
  EXPECT_EQ(stored(), 3u);
}

using SqliteFullDeathTest = SqliteFullTest;

TEST_F(SqliteFullDeathTest, AStopWithoutRoomEndsTheProcessAndTellsNobody) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        write_result = SQLITE_FULL;
        commit(1);
        store_.reset();
        std::_Exit(told_ > 0 ? 7 : 8);
      },
      ::testing::ExitedWithCode(1), "there is no room");
}

TEST_F(SqliteFullDeathTest, AnyOtherErrorEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        write_result = SQLITE_IOERR_WRITE;
        commit(1);
        std::this_thread::sleep_for(std::chrono::seconds(10));
      },
      "cannot commit");
}

}  // namespace
}  // namespace mh::server
