// Degraded when the disk is full or fails, and not a moment longer than that.
#include "server/disk_watch.h"

#include <gtest/gtest.h>

#include "server/blob_store.h"
#include "tests/unit/server/faulty_disk.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

constexpr std::uint64_t kReserve = 1'000'000;

class DiskWatchTest : public ::testing::Test {
 protected:
  DiskWatchTest() : watch_(disk_, folder_.path(), kReserve) { watch_.look(); }
  bool is_degraded() const { return !watch_.check_room().has_value(); }
  std::string why() const { return watch_.state().sentence; }

  TemporaryFolder folder_;
  FaultyDisk disk_;
  DiskWatch watch_;
};

TEST_F(DiskWatchTest, AllIsWellWhileThereIsRoom) {
  EXPECT_FALSE(is_degraded());
  EXPECT_EQ(why(), "");
  EXPECT_TRUE(watch_.check_store());
  EXPECT_EQ(watch_.state().free_bytes, 1'000'000'000U);
}

TEST_F(DiskWatchTest, LessThanTheReserveIsFullAndAQuarterMoreIsNot) {
  disk_.free = kReserve - 1;
  watch_.look();
  EXPECT_TRUE(is_degraded());
  EXPECT_EQ(watch_.check_room().error().code, Errc::kUnavailable);
  EXPECT_TRUE(watch_.check_store()) << "the reserve is the database's";
  EXPECT_EQ(why().find("disk full: 1000.0 KB free, 1.0 MB are kept in reserve"), 0U) << why();
  EXPECT_EQ(why().find(folder_.path().string()), std::string::npos) << "paths are not for callers";
  disk_.free = kReserve + kReserve / 4 - 1;
  watch_.look();
  EXPECT_TRUE(is_degraded());
  disk_.free = kReserve + kReserve / 4;
  watch_.look();
  EXPECT_FALSE(is_degraded());
}

TEST_F(DiskWatchTest, AWriteWithoutRoomIsNoticedAtOnceAndBelievedUntilOneWorks) {
  BlobStore blobs = BlobStore::open(folder_.path() / "blobs", watch_).value();
  disk_.write_error = ENOSPC;
  disk_.free = 4'000'000;
  EXPECT_EQ(blobs.put("hello").error().code, Errc::kResourceExhausted);
  EXPECT_TRUE(is_degraded());
  EXPECT_EQ(why().find("disk full: write: No space left on device; 4.0 MB free"), 0U) << why();
  watch_.look();
  EXPECT_TRUE(is_degraded()) << "free space is said to be there, but the disk refuses";
  disk_.heal();
  EXPECT_TRUE(is_degraded());
  watch_.look();
  EXPECT_FALSE(is_degraded());
  EXPECT_TRUE(blobs.put("hello"));
}

TEST_F(DiskWatchTest, AnErrorOfTheDiskIsToldAsSuch) {
  disk_.sync_error = EIO;
  EXPECT_EQ(watch_.sync(0), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(why().find("disk error: fsync: Input/output error"), 0U) << why();
  watch_.look();
  EXPECT_TRUE(is_degraded());
  disk_.heal();
  watch_.look();
  EXPECT_FALSE(is_degraded());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 0);
}

TEST_F(DiskWatchTest, WhatDoesNotSpeakOfTheDiskIsPassedOnOnly) {
  EXPECT_EQ(watch_.open(folder_.path() / "no" / "such", 0, 0), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FALSE(is_degraded());
}

TEST_F(DiskWatchTest, ADatabaseWithoutRoomRefusesAllDecisions) {
  watch_.store_stalls(true);
  EXPECT_TRUE(is_degraded());
  EXPECT_EQ(watch_.check_store().error().code, Errc::kUnavailable);
  watch_.look();
  EXPECT_TRUE(is_degraded()) << "until the database says that it has written";
  watch_.store_stalls(false);
  EXPECT_TRUE(watch_.check_store());
  watch_.look();
  EXPECT_FALSE(is_degraded());
}

}  // namespace
}  // namespace mh::server
