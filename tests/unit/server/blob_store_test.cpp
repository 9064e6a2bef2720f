// Blobs appear whole or not at all; cut uploads go on where they stopped.
#include "server/blob_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "server/secrets.h"
#include "server/upload_store.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

class BlobStoreTest : public ::testing::Test {
 protected:
  BlobStoreTest() : blobs_(BlobStore::open(folder_.path() / "blobs").value()) { reopen(); }
  void reopen() {
    uploads_.reset();
    uploads_ = UploadStore::open(folder_.path() / "uploads", blobs_, limits_, now_).value();
  }
  static Digest digest_of(std::string_view text) { return secret_hash(text); }
  std::size_t file_count(const std::string& sub) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / sub)) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  TemporaryFolder folder_;
  BlobStore blobs_;
  UploadLimits limits_;
  TimePoint now_{std::chrono::milliseconds(1'000'000)};
  std::unique_ptr<UploadStore> uploads_;
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
  blobs_.remove(digest);
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

TEST_F(BlobStoreTest, UploadInPiecesBecomesABlob) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  auto status = uploads_->append(upload.id, "host-1", 0, bytes_of("hello "), now_);
  EXPECT_EQ(status.value().offset, 6U);
  EXPECT_FALSE(status.value().is_complete);
  status = uploads_->append(upload.id, "host-1", 6, bytes_of("world"), now_);
  EXPECT_TRUE(status.value().is_complete);
  EXPECT_EQ(text_of(blobs_.read(digest_of("hello world"), 100).value()), "hello world");
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(BlobStoreTest, CutUploadGoesOnAfterARestart) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  ASSERT_TRUE(uploads_->append(upload.id, "host-1", 0, bytes_of("hello "), now_));
  reopen();
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).value().offset, 6U);
  const auto status = uploads_->append(upload.id, "host-1", 6, bytes_of("world"), now_);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(blobs_.contains(digest_of("hello world")));
}

TEST_F(BlobStoreTest, UploadRefusesAWrongOffsetAndKeepsItsPlace) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  EXPECT_EQ(uploads_->append(upload.id, "host-1", 3, bytes_of("x"), now_).error().code,
            Errc::kAborted);
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).value().offset, 0U);
}

TEST_F(BlobStoreTest, UploadWithWrongDigestIsRemoved) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  const auto status = uploads_->append(upload.id, "host-1", 0, bytes_of("jello"), now_);
  EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).error().code, Errc::kNotFound);
  EXPECT_FALSE(blobs_.contains(digest_of("hello")));
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(BlobStoreTest, UploadTakesNoMoreThanAnnounced) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->append(upload.id, "host-1", 0, bytes_of("hello!"), now_).error().code,
            Errc::kInvalidArgument);
}

TEST_F(BlobStoreTest, UploadOfAnotherOwnerLooksLikeNone) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->find(upload.id, "host-2", now_).error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->remove(upload.id, "host-2").error().code, Errc::kNotFound);
  EXPECT_TRUE(uploads_->remove(upload.id, "host-1"));
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(BlobStoreTest, UploadOfAPresentBlobIsCompleteAtOnce) {
  const Digest digest = blobs_.put("hello").value();
  const auto status = uploads_->create("host-1", 5, digest, now_).value();
  EXPECT_TRUE(status.is_complete);
  EXPECT_EQ(status.offset, 5U);
}

TEST_F(BlobStoreTest, UploadExpiresAtItsTimeNotBefore) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->remove_expired(now_ + limits_.lifetime - std::chrono::milliseconds(1)), 0U);
  EXPECT_EQ(uploads_->remove_expired(now_ + limits_.lifetime), 1U);
  EXPECT_FALSE(uploads_->find(upload.id, "host-1", now_));
}

TEST_F(BlobStoreTest, UploadsOfOneOwnerAreBounded) {
  limits_.count_per_owner_max = 2;
  limits_.bytes_per_owner_max = 100;
  reopen();
  EXPECT_EQ(uploads_->create("host-1", 101, digest_of("a"), now_).error().code,
            Errc::kResourceExhausted);
  EXPECT_TRUE(uploads_->create("host-1", 10, digest_of("a"), now_));
  EXPECT_TRUE(uploads_->create("host-1", 10, digest_of("b"), now_));
  EXPECT_EQ(uploads_->create("host-1", 10, digest_of("c"), now_).error().code,
            Errc::kResourceExhausted);
  EXPECT_TRUE(uploads_->create("host-2", 10, digest_of("c"), now_));
}

}  // namespace
}  // namespace mh::server
