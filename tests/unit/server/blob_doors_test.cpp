// What the HTTP server sees of the stores: the same offsets, sizes, times and errors.
#include "server/blob_doors.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/server/faulty_disk.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class BlobDoorsTest : public ::testing::Test {
 protected:
  BlobDoorsTest()
      : watch_(disk_, folder_.path(), 1'000'000),
        blobs_(BlobStore::open(folder_.path() / "blobs", watch_).value()),
        uploads_(
            UploadStore::open(folder_.path() / "uploads", blobs_, limits_, clock_.now(), watch_)
                .value()),
        blob_door_(blobs_),
        door_(*uploads_, watch_, clock_, [this](const std::string& owner, const Digest& blob) {
          published_.emplace_back(owner, blob);
        }) {}

  TemporaryFolder folder_;
  ManualClock clock_{from_unix_ms(1'000'000)};
  UploadLimits limits_;
  FaultyDisk disk_;
  DiskWatch watch_;
  BlobStore blobs_;
  std::unique_ptr<UploadStore> uploads_;
  std::vector<std::pair<std::string, Digest>> published_;
  BlobDoor blob_door_;
  UploadDoor door_;
};

TEST_F(BlobDoorsTest, ABlobComesWithItsSize) {
  const Digest digest = blobs_.put("hello").value();
  const auto file = blob_door_.open(digest);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->bytes, 5U);
  std::vector<std::byte> content(5);
  EXPECT_TRUE(read_fully(file->file.get(), 0, content, "blob"));
  EXPECT_EQ(blob_door_.open(sha256(std::string_view("other"))).error().code, Errc::kNotFound);
}

TEST_F(BlobDoorsTest, AnUploadGoesThroughAndItsOwnerIsTold) {
  const Digest digest = sha256(std::string_view("hello world"));
  const auto made = door_.create("host-1", 11, digest).value();
  EXPECT_EQ(made.offset, 0U);
  EXPECT_EQ(made.length, 11U);
  EXPECT_EQ(made.expires, clock_.now() + limits_.lifetime);
  EXPECT_FALSE(made.is_complete);
  EXPECT_EQ(door_.append("host-1", made.id, 0, bytes_of("hello ")).value().offset, 6U);
  EXPECT_EQ(door_.find("host-1", made.id).value().offset, 6U);
  EXPECT_TRUE(published_.empty());
  EXPECT_TRUE(door_.append("host-1", made.id, 6, bytes_of("world")).value().is_complete);
  EXPECT_EQ(published_, (std::vector{std::pair<std::string, Digest>("host-1", digest)}));
  EXPECT_TRUE(blobs_.contains(digest));
}

TEST_F(BlobDoorsTest, ABlobThatIsHereAlreadyIsNobodysUpload) {
  const Digest digest = blobs_.put("hello").value();
  EXPECT_TRUE(door_.create("host-1", 5, digest).value().is_complete);
  EXPECT_TRUE(published_.empty());
}

TEST_F(BlobDoorsTest, ErrorsAreThoseOfTheContract) {
  const Digest digest = sha256(std::string_view("hello"));
  EXPECT_EQ(door_.create("host-1", limits_.bytes_max + 1, digest).error().code,
            Errc::kResourceExhausted);
  EXPECT_EQ(door_.create("host-1", 0, digest).error().code, Errc::kInvalidArgument);
  const auto made = door_.create("host-1", 5, digest).value();
  EXPECT_EQ(door_.find("host-2", made.id).error().code, Errc::kNotFound);
  EXPECT_EQ(door_.append("host-2", made.id, 0, bytes_of("hello")).error().code, Errc::kNotFound);
  EXPECT_EQ(door_.append("host-1", made.id, 1, bytes_of("ello")).error().code, Errc::kAborted);
  EXPECT_EQ(door_.append("host-1", made.id, 0, bytes_of("jello")).error().code,
            Errc::kInvalidArgument);
  EXPECT_EQ(door_.find("host-1", made.id).error().code, Errc::kNotFound);
  EXPECT_TRUE(published_.empty());
}

TEST_F(BlobDoorsTest, TimePassesForUploads) {
  const auto made = door_.create("host-1", 5, sha256(std::string_view("hello"))).value();
  clock_.advance(limits_.lifetime - std::chrono::milliseconds(1));
  EXPECT_TRUE(door_.find("host-1", made.id));
  clock_.advance(std::chrono::milliseconds(1));
  EXPECT_EQ(door_.find("host-1", made.id).error().code, Errc::kNotFound);
  EXPECT_EQ(door_.append("host-1", made.id, 0, bytes_of("hello")).error().code, Errc::kNotFound);
}

TEST_F(BlobDoorsTest, ARemovedUploadIsGone) {
  const auto made = door_.create("host-1", 5, sha256(std::string_view("hello"))).value();
  EXPECT_EQ(door_.remove("host-2", made.id).error().code, Errc::kNotFound);
  EXPECT_TRUE(door_.remove("host-1", made.id));
  EXPECT_EQ(door_.find("host-1", made.id).error().code, Errc::kNotFound);
}

TEST_F(BlobDoorsTest, ADegradedServerTakesNoUploadAndGoesOnWhereItStoodLater) {
  const Digest digest = sha256(std::string_view("hello world"));
  const std::string id = door_.create("host:1", 11, digest)->id;
  ASSERT_TRUE(door_.append("host:1", id, 0, bytes_of("hello ")));
  disk_.write_error = ENOSPC;
  EXPECT_EQ(door_.append("host:1", id, 6, bytes_of("world")).error().code, Errc::kUnavailable);
  disk_.heal();
  const auto refused = door_.append("host:1", id, 6, bytes_of("world"));
  ASSERT_FALSE(refused) << "it works again, but nobody has looked yet";
  EXPECT_NE(refused.error().message.find("degraded: disk full"), std::string::npos);
  EXPECT_EQ(door_.create("host:1", 11, digest).error().code, Errc::kUnavailable);
  EXPECT_EQ(door_.find("host:1", id)->offset, 6u);
  watch_.look();
  EXPECT_TRUE(door_.append("host:1", id, 6, bytes_of("world"))->is_complete);
  EXPECT_EQ(published_.size(), 1u);
}

TEST_F(BlobDoorsTest, AQuotaIsNoFaultOfTheDisk) {
  const Digest digest = sha256(std::string_view("hello world"));
  const auto refused = door_.create("host:1", limits_.bytes_max + 1, digest);
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
}

}  // namespace
}  // namespace mh::server
