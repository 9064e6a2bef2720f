// A disk that is full, short or broken leaves no blob behind, and no fsync that failed is made good
// by one that works later.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "server/blob_store.h"
#include "tests/unit/server/faulty_disk.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

class BlobFaultsTest : public ::testing::Test {
 protected:
  BlobFaultsTest() : blobs_(reopen()) {}

  BlobStore reopen() { return BlobStore::open(folder_.path() / "blobs", disk_).value(); }
  std::size_t file_count() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path()))
      count += entry.is_regular_file() && entry.path().filename() != "hold" ? 1 : 0;
    return count;
  }
  Digest fresh(const std::string& content) {
    const auto file = folder_.path() / "upload";
    std::ofstream(file) << content;
    const Digest digest = sha256(content);
    EXPECT_TRUE(blobs_.adopt_fresh(file, digest));
    return digest;
  }
  std::string text_of(const Digest& digest) {
    const auto bytes = blobs_.read(digest, 1'000'000);
    if (!bytes) return bytes.error().message;
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
  ino_t inode_of(const Digest& digest) {
    struct stat status {};
    EXPECT_EQ(::stat(blobs_.path_of(digest).c_str(), &status), 0);
    return status.st_ino;
  }
  // The next fsyncs work `before` times, then fail `count` times.
  void fail_syncs(int before, int count) {
    disk_.syncs_before = before;
    disk_.sync_failures = count;
    disk_.sync_error = EIO;
  }

  TemporaryFolder folder_;
  FaultyDisk disk_;
  BlobStore blobs_;
};

TEST_F(BlobFaultsTest, WithoutRoomNothingIsLeftAndTheNextTryWorks) {
  disk_.room = 3;
  const auto refused = blobs_.put("hello");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("disk full"), std::string::npos);
  EXPECT_EQ(file_count(), 0U);
  disk_.heal();
  EXPECT_EQ(text_of(blobs_.put("hello").value()), "hello");
}

TEST_F(BlobFaultsTest, ShortWritesAreContinued) {
  disk_.piece_bytes_max = 1;
  EXPECT_EQ(text_of(blobs_.put("hello").value()), "hello");
}

TEST_F(BlobFaultsTest, EveryCallThatFailsLeavesNoBlob) {
  for (std::atomic<int>* error :
       {&disk_.open_error, &disk_.write_error, &disk_.sync_error, &disk_.rename_error}) {
    *error = EIO;
    const auto refused = blobs_.put("hello");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInternal);
    EXPECT_FALSE(blobs_.contains(sha256(std::string_view("hello"))));
    EXPECT_EQ(file_count(), 0U);
    disk_.heal();
  }
  EXPECT_EQ(text_of(blobs_.put("hello").value()), "hello");
}

TEST_F(BlobFaultsTest, AFileWhoseFsyncFailedIsNotKept) {
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.put("hello"));
  EXPECT_EQ(file_count(), 0U) << "the next put must write its own";
  EXPECT_EQ(text_of(blobs_.put("hello").value()), "hello");
}

TEST_F(BlobFaultsTest, ABlobWhoseFolderFailedIsStoredAgain) {
  ASSERT_TRUE(blobs_.put("hello"));
  const Digest digest = sha256(std::string_view("hello"));
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.settle(digest));
  EXPECT_EQ(blobs_.settle(digest).error().code, Errc::kDataLoss) << "though fsync works again";
  const auto before = inode_of(digest);
  EXPECT_TRUE(blobs_.put("hello"));
  EXPECT_NE(inode_of(digest), before) << "written anew";
  EXPECT_TRUE(blobs_.settle(digest));
}

TEST_F(BlobFaultsTest, AFreshBlobWhoseFsyncFailedIsWrittenAnew) {
  const Digest digest = fresh("update");
  const auto first = blobs_.path_of(digest);
  fail_syncs(0, 1);
  EXPECT_EQ(blobs_.make_durable(digest).error().code, Errc::kInternal);
  EXPECT_EQ(text_of(digest), "update") << "the aggregation may read it all the same";
  EXPECT_TRUE(blobs_.make_durable(digest));
  EXPECT_FALSE(std::filesystem::exists(first));
  EXPECT_EQ(file_count(), 1U);
  EXPECT_EQ(text_of(digest), "update");
  EXPECT_FALSE(blobs_.is_fresh(digest));
  EXPECT_TRUE(blobs_.settle(digest));
}

TEST_F(BlobFaultsTest, AFreshBlobInDoubtIsNotTakenUpByAStart) {
  const Digest digest = fresh("update");
  fail_syncs(0, 100);
  EXPECT_FALSE(blobs_.make_durable(digest));
  EXPECT_FALSE(blobs_.make_durable(digest)) << "the copy cannot be fsynced either";
  EXPECT_EQ(file_count(), 1U);
  disk_.heal();
  EXPECT_FALSE(reopen().contains(digest)) << "its pages may be gone, whatever they look like";
  EXPECT_EQ(file_count(), 0U);
}

TEST_F(BlobFaultsTest, AFreshBlobInDoubtWithoutRoomWaitsForIt) {
  const Digest digest = fresh("update");
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.make_durable(digest));
  disk_.room = 2;
  EXPECT_EQ(blobs_.make_durable(digest).error().code, Errc::kResourceExhausted);
  disk_.heal();
  EXPECT_TRUE(blobs_.make_durable(digest));
  EXPECT_EQ(text_of(digest), "update");
}

TEST_F(BlobFaultsTest, BytesThatTheDiskLostAreNotPublished) {
  const Digest digest = fresh("update");
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.make_durable(digest));
  std::ofstream(blobs_.path_of(digest)) << "zeroes";
  EXPECT_EQ(blobs_.make_durable(digest).error().code, Errc::kDataLoss);
  EXPECT_FALSE(reopen().contains(digest));
}

TEST_F(BlobFaultsTest, AFreshBlobWhoseFolderFailedIsWrittenAnew) {
  const Digest digest = fresh("update");
  fail_syncs(2, 1);  // those of the file and of the folder that gets a folder work
  EXPECT_FALSE(blobs_.make_durable(digest));
  const auto before = inode_of(digest);
  EXPECT_TRUE(blobs_.make_durable(digest));
  EXPECT_NE(inode_of(digest), before);
  EXPECT_TRUE(blobs_.settle(digest));
  EXPECT_EQ(text_of(digest), "update");
}

TEST_F(BlobFaultsTest, AFolderWhoseNameMayBeLostIsMadeAgain) {
  fail_syncs(1, 1);
  EXPECT_FALSE(blobs_.put("hello"));
  const auto folder = blobs_.path_of(sha256(std::string_view("hello"))).parent_path();
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_TRUE(blobs_.put("hello"));
}

TEST_F(BlobFaultsTest, AnUpdateThatComesAgainEndsTheDoubt) {
  const Digest digest = fresh("update");
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.make_durable(digest));
  EXPECT_EQ(fresh("update"), digest);
  EXPECT_EQ(file_count(), 1U);
  EXPECT_TRUE(blobs_.make_durable(digest));
  EXPECT_EQ(text_of(digest), "update");
}

TEST_F(BlobFaultsTest, OneInDoubtCanBeTakenOut) {
  const Digest digest = fresh("update");
  fail_syncs(0, 1);
  EXPECT_FALSE(blobs_.make_durable(digest));
  const auto aside = blobs_.take_out(digest);
  ASSERT_TRUE(aside);
  blobs_.recycle({*aside});
  EXPECT_FALSE(blobs_.contains(digest));
  EXPECT_EQ(file_count(), 0U);
  EXPECT_EQ(blobs_.make_durable(digest).has_value(), true) << "nothing to do";
}

}  // namespace
}  // namespace mh::server
