// Blobs appear whole or not at all.
#include "server/blob_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

class BlobStoreTest : public ::testing::Test {
 protected:
  BlobStoreTest() : blobs_(BlobStore::open(folder_.path() / "blobs").value()) {}
  std::size_t file_count(const std::string& sub) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / sub)) {
      count += entry.is_regular_file() && entry.path().filename() != "hold" ? 1 : 0;
    }
    return count;
  }

  TemporaryFolder folder_;
  BlobStore blobs_;
};

TEST_F(BlobStoreTest, StoresUnderTheDigestOfTheContent) {
  const auto digest = blobs_.put("hello");
  ASSERT_TRUE(digest);
  EXPECT_EQ(digest.value().hex(),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  EXPECT_TRUE(blobs_.contains(digest.value()));
  EXPECT_EQ(blobs_.size(digest.value()).value(), 5U);
  EXPECT_EQ(text_of(blobs_.read(digest.value(), 100).value()), "hello");
}

TEST_F(BlobStoreTest, ReadRefusesMoreThanTheLimit) {
  const Digest digest = blobs_.put("hello").value();
  EXPECT_EQ(blobs_.read(digest, 4).error().code, Errc::kResourceExhausted);
}

TEST_F(BlobStoreTest, RemovedBlobIsGoneButAnOpenOneCanStillBeRead) {
  const Digest digest = blobs_.put("hello").value();
  auto open = blobs_.open_blob(digest);
  EXPECT_TRUE(blobs_.take_out(digest).has_value());
  EXPECT_FALSE(blobs_.contains(digest));
  EXPECT_EQ(blobs_.open_blob(digest).error().code, Errc::kNotFound);
  std::vector<std::byte> content(5);
  EXPECT_TRUE(read_fully(open.value().file.get(), 0, content, "open"));
  EXPECT_EQ(text_of(content), "hello");
}

TEST_F(BlobStoreTest, OpenRemovesTemporaryFilesOfACrash) {
  std::ofstream(folder_.path() / "blobs" / "tmp-1-1") << "half";
  const auto again = BlobStore::open(folder_.path() / "blobs");
  ASSERT_TRUE(again);
  EXPECT_EQ(file_count("blobs"), 0U);
}

TEST_F(BlobStoreTest, AFailedWriteLeavesNothingAndSaysWhy) {
  // Opening any file for writing there fails, as on a full or broken disk.
  std::filesystem::remove_all(folder_.path() / "blobs");
  const auto digest = blobs_.put("hello");
  ASSERT_FALSE(digest);
  EXPECT_NE(digest.error().message.find("cannot create"), std::string::npos);
  EXPECT_EQ(errno_error("cannot write", "x", ENOSPC).code, Errc::kResourceExhausted);
  EXPECT_NE(errno_error("cannot write", "x", ENOSPC).message.find("disk full"), std::string::npos);
}

}  // namespace
}  // namespace mh::server
