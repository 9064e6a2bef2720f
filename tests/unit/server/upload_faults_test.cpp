// Uploads on a disk that is full or broken: none is lost that was acknowledged, none becomes a blob
// on the word of an fsync that failed before.
#include <gtest/gtest.h>

#include "server/upload_store.h"
#include "tests/unit/server/faulty_disk.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

constexpr std::string_view kContent = "hello world";

class UploadFaultsTest : public ::testing::Test {
 protected:
  UploadFaultsTest() : blobs_(BlobStore::open(folder_.path() / "blobs", disk_).value()) {
    reopen();
  }

  void reopen() {
    uploads_.reset();
    uploads_ = UploadStore::open(folder_.path() / "uploads", blobs_, limits_, now_, disk_).value();
  }
  Result<UploadStatus> create() {
    return uploads_->create("host-1", kContent.size(), sha256(kContent), now_);
  }
  Result<UploadStatus> append(const std::string& id, std::uint64_t offset, std::string_view piece) {
    return uploads_->append(id, "host-1", offset, std::as_bytes(std::span(piece)), now_);
  }
  std::uint64_t offset_of(const std::string& id) {
    return uploads_->find(id, "host-1", now_).value().offset;
  }
  bool is_stored() { return blobs_.contains(sha256(kContent)); }
  std::size_t file_count() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_.path() / "uploads"), {}));
  }

  TemporaryFolder folder_;
  FaultyDisk disk_;
  BlobStore blobs_;
  UploadLimits limits_;
  TimePoint now_{std::chrono::milliseconds(1'000'000)};
  std::unique_ptr<UploadStore> uploads_;
};

TEST_F(UploadFaultsTest, APieceThatFindsNoRoomIsSentAgain) {
  const std::string id = create()->id;
  ASSERT_TRUE(append(id, 0, "hello "));
  disk_.room = 2;
  EXPECT_EQ(append(id, 6, "world").error().code, Errc::kResourceExhausted);
  EXPECT_EQ(offset_of(id), 6u);
  disk_.heal();
  EXPECT_TRUE(append(id, 6, "world")->is_complete);
  EXPECT_TRUE(is_stored());
}

TEST_F(UploadFaultsTest, ShortWritesAndAnErrorInBetweenCostNothing) {
  const std::string id = create()->id;
  disk_.piece_bytes_max = 2;
  disk_.write_error = EIO;
  EXPECT_EQ(append(id, 0, kContent).error().code, Errc::kInternal);
  EXPECT_EQ(offset_of(id), 0u);
  disk_.write_error = 0;
  EXPECT_TRUE(append(id, 0, kContent)->is_complete);
  EXPECT_TRUE(is_stored());
}

TEST_F(UploadFaultsTest, AfterAFailedFsyncItBeginsAgain) {
  const std::string id = create()->id;
  ASSERT_TRUE(append(id, 0, "hello "));
  disk_.syncs_before = 0;
  disk_.sync_failures = 1;
  disk_.sync_error = EIO;
  EXPECT_FALSE(append(id, 6, "world"));
  EXPECT_FALSE(is_stored());
  EXPECT_EQ(offset_of(id), 0u) << "nothing that was written before is believed";
  EXPECT_EQ(append(id, 6, "world").error().code, Errc::kAborted);
  EXPECT_TRUE(append(id, 0, kContent)->is_complete);
  EXPECT_TRUE(is_stored());
}

TEST_F(UploadFaultsTest, ABlobWhoseFolderFailedIsWrittenAnewWhenItIsAskedFor) {
  const std::string id = create()->id;
  disk_.sync_failures = 1;
  disk_.syncs_before = 2;  // the file, and the folder that gets a folder
  disk_.sync_error = EIO;
  EXPECT_FALSE(append(id, 0, kContent));
  EXPECT_EQ(blobs_.settle(sha256(kContent)).error().code, Errc::kDataLoss);
  EXPECT_TRUE(create()->is_complete);
  EXPECT_TRUE(blobs_.settle(sha256(kContent)));
}

TEST_F(UploadFaultsTest, ACreationThatFindsNoRoomLeavesNothing) {
  disk_.open_error = ENOSPC;
  EXPECT_EQ(create().error().code, Errc::kResourceExhausted);
  EXPECT_EQ(uploads_->count(), 0u);
  EXPECT_EQ(file_count(), 0u);
}

TEST_F(UploadFaultsTest, OneThatCouldNotBeKeptIsNotSaidToBeKept) {
  const std::string id = create()->id;
  ASSERT_TRUE(append(id, 0, "hello "));
  disk_.write_error = ENOSPC;
  EXPECT_FALSE(uploads_->keep(id, "host-1", now_));
  EXPECT_FALSE(uploads_->keep(id, "host-1", now_)) << "not the second time either";
  EXPECT_EQ(file_count(), 1u);
  disk_.heal();
  EXPECT_TRUE(uploads_->keep(id, "host-1", now_));
  reopen();
  EXPECT_EQ(offset_of(id), 6u);
}

}  // namespace
}  // namespace mh::server
