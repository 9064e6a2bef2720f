// Uploads: cut ones go on where they stopped, damaged ones become no blob, nobody takes all space.
#include "server/upload_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

class UploadStoreTest : public ::testing::Test {
 protected:
  UploadStoreTest() : blobs_(BlobStore::open(folder_.path() / "blobs").value()) { reopen(); }

  void reopen() {
    uploads_.reset();
    uploads_ = UploadStore::open(folder_.path() / "uploads", blobs_, limits_, now_).value();
  }
  static Digest digest_of(std::string_view text) { return sha256(text); }
  // An upload of "hello world" by host-1 that outlives its request, and pieces of it.
  std::string start() {
    const std::string id =
        uploads_->create("host-1", 11, digest_of("hello world"), now_).value().id;
    EXPECT_TRUE(uploads_->keep(id, "host-1", now_));
    return id;
  }
  Result<UploadStatus> append(const std::string& id, std::uint64_t offset, std::string_view piece) {
    return uploads_->append(id, "host-1", offset, bytes_of(piece), now_);
  }
  std::uint64_t offset_of(const std::string& id) {
    return uploads_->find(id, "host-1", now_).value().offset;
  }
  std::filesystem::path data_of(const std::string& id) {
    return folder_.path() / "uploads" / (id + ".data");
  }
  std::size_t file_count(const std::string& sub) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / sub)) {
      count += entry.is_regular_file() && entry.path().filename() != "hold" ? 1 : 0;
    }
    return count;
  }
  // A file where the blob's folder should be: it cannot be published.
  void block_publishing() {
    std::filesystem::remove_all(blobs_.path_of(digest_of("hello world")).parent_path());
    std::ofstream(blobs_.path_of(digest_of("hello world")).parent_path()) << "in the way";
  }
  void allow_publishing() {
    std::filesystem::remove(blobs_.path_of(digest_of("hello world")).parent_path());
  }

  TemporaryFolder folder_;
  BlobStore blobs_;
  UploadLimits limits_;
  TimePoint now_{std::chrono::milliseconds(1'000'000)};
  std::unique_ptr<UploadStore> uploads_;
};

TEST_F(UploadStoreTest, UploadInPiecesBecomesABlob) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  auto status = uploads_->append(upload.id, "host-1", 0, bytes_of("hello "), now_);
  EXPECT_EQ(status.value().offset, 6U);
  EXPECT_FALSE(status.value().is_complete);
  status = uploads_->append(upload.id, "host-1", 6, bytes_of("world"), now_);
  EXPECT_TRUE(status.value().is_complete);
  EXPECT_EQ(text_of(blobs_.read(digest_of("hello world"), 100).value()), "hello world");
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, CutUploadGoesOnAfterARestart) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  ASSERT_TRUE(uploads_->append(upload.id, "host-1", 0, bytes_of("hello "), now_));
  ASSERT_TRUE(uploads_->keep(upload.id, "host-1", now_));
  reopen();
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).value().offset, 6U);
  const auto status = uploads_->append(upload.id, "host-1", 6, bytes_of("world"), now_);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(blobs_.contains(digest_of("hello world")));
}

TEST_F(UploadStoreTest, AnUploadThatNobodyKeptBeginsAgainAfterARestart) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  ASSERT_TRUE(uploads_->append(upload.id, "host-1", 0, bytes_of("hello "), now_));
  EXPECT_EQ(file_count("uploads"), 1U);
  reopen();
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).error().code, Errc::kNotFound);
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, AKeptUploadInBlocksOfAnotherStandsWhereItStood) {
  const std::string old(100'000, 'a');
  const std::string content(100'000, 'b');
  const Digest released = blobs_.put(old).value();
  blobs_.recycle({*blobs_.take_out(released)});
  const std::string id =
      uploads_->create("host-1", content.size(), digest_of(content), now_).value().id;
  ASSERT_TRUE(append(id, 0, content.substr(0, 60'000)));
  ASSERT_TRUE(uploads_->keep(id, "host-1", now_));
  reopen();
  EXPECT_EQ(offset_of(id), 60'000U);
  EXPECT_TRUE(append(id, 60'000, content.substr(60'000)).value().is_complete);
  EXPECT_EQ(text_of(blobs_.read(digest_of(content), 100'000).value()), content);
}

TEST_F(UploadStoreTest, UploadRefusesAWrongOffsetAndKeepsItsPlace) {
  const auto upload = uploads_->create("host-1", 11, digest_of("hello world"), now_).value();
  EXPECT_EQ(uploads_->append(upload.id, "host-1", 3, bytes_of("x"), now_).error().code,
            Errc::kAborted);
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).value().offset, 0U);
}

TEST_F(UploadStoreTest, UploadWithWrongDigestIsRemoved) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  const auto status = uploads_->append(upload.id, "host-1", 0, bytes_of("jello"), now_);
  EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).error().code, Errc::kNotFound);
  EXPECT_FALSE(blobs_.contains(digest_of("hello")));
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, UploadTakesNoMoreThanAnnounced) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->append(upload.id, "host-1", 0, bytes_of("hello!"), now_).error().code,
            Errc::kInvalidArgument);
}

TEST_F(UploadStoreTest, UploadOfAnotherOwnerLooksLikeNone) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->find(upload.id, "host-2", now_).error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->remove(upload.id, "host-2").error().code, Errc::kNotFound);
  EXPECT_TRUE(uploads_->remove(upload.id, "host-1"));
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, UploadOfAPresentBlobIsCompleteAtOnce) {
  const Digest digest = blobs_.put("hello").value();
  const auto status = uploads_->create("host-1", 5, digest, now_).value();
  EXPECT_TRUE(status.is_complete);
  EXPECT_EQ(status.offset, 5U);
}

TEST_F(UploadStoreTest, UploadExpiresAtItsTimeNotBefore) {
  const auto upload = uploads_->create("host-1", 5, digest_of("hello"), now_).value();
  EXPECT_EQ(uploads_->remove_expired(now_ + limits_.lifetime - std::chrono::milliseconds(1)), 0U);
  EXPECT_EQ(uploads_->remove_expired(now_ + limits_.lifetime), 1U);
  EXPECT_FALSE(uploads_->find(upload.id, "host-1", now_));
}

TEST_F(UploadStoreTest, UploadsOfOneOwnerAreBounded) {
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

TEST_F(UploadStoreTest, ExpiredUploadsDoNotCountEvenBeforeTheyAreRemoved) {
  limits_.count_per_owner_max = 1;
  reopen();
  start();
  EXPECT_FALSE(uploads_->create("host-1", 10, digest_of("b"), now_));
  now_ += limits_.lifetime;
  EXPECT_TRUE(uploads_->create("host-1", 10, digest_of("b"), now_));
}

TEST_F(UploadStoreTest, ANewUploadOfTheSameBlobTakesThePlaceOfAnAbandonedOne) {
  limits_.count_per_owner_max = 1;
  reopen();
  const std::string left = start();
  ASSERT_TRUE(append(left, 0, "hello "));
  // Somebody may still be sending it.
  now_ += limits_.supersede_after - std::chrono::milliseconds(1);
  EXPECT_EQ(uploads_->create("host-1", 11, digest_of("hello world"), now_).error().code,
            Errc::kResourceExhausted);
  now_ += std::chrono::milliseconds(1);
  const auto again = uploads_->create("host-1", 11, digest_of("hello world"), now_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->offset, 0U) << "a creation begins at the beginning";
  EXPECT_EQ(append(left, 6, "world").error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->count(), 1U);
  EXPECT_TRUE(append(again->id, 0, "hello world").value().is_complete);
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, OnlyTheSameBlobOfTheSameOwnerIsSuperseded) {
  const std::string left = start();
  now_ += limits_.supersede_after;
  ASSERT_TRUE(uploads_->create("host-2", 11, digest_of("hello world"), now_));
  ASSERT_TRUE(uploads_->create("host-1", 12, digest_of("hello world"), now_));
  ASSERT_TRUE(uploads_->create("host-1", 11, digest_of("other"), now_));
  EXPECT_EQ(offset_of(left), 0U);
}

TEST_F(UploadStoreTest, AnUploadIsGoneOnWithByWhoeverBeginsItAgain) {
  const std::string left = start();
  ASSERT_TRUE(append(left, 0, "hello "));
  reopen();
  now_ += limits_.lifetime - std::chrono::milliseconds(1);
  const Digest digest = digest_of("hello world");
  EXPECT_EQ(uploads_->resume("host-2", 11, digest, now_).error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->resume("host-1", 12, digest, now_).error().code, Errc::kNotFound);
  const auto found = uploads_->resume("host-1", 11, digest, now_);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->id, left);
  EXPECT_EQ(found->offset, 6U);
  EXPECT_EQ(found->expires, now_ + limits_.lifetime);
  EXPECT_TRUE(append(left, 6, "world").value().is_complete);
  EXPECT_EQ(uploads_->resume("host-1", 11, digest, now_).error().code, Errc::kNotFound);
}

TEST_F(UploadStoreTest, WhatIsTakenBackIsNotThereAfterARestartEither) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hello "));
  ASSERT_TRUE(append(id, 6, "wor"));
  EXPECT_EQ(uploads_->rewind(id, "host-1", 10, now_).error().code, Errc::kAborted);
  EXPECT_EQ(uploads_->rewind(id, "host-2", 6, now_).error().code, Errc::kNotFound);
  ASSERT_TRUE(uploads_->rewind(id, "host-1", 6, now_));
  EXPECT_EQ(offset_of(id), 6U);
  reopen();
  EXPECT_EQ(offset_of(id), 6U);
  EXPECT_TRUE(append(id, 6, "world").value().is_complete);
  EXPECT_TRUE(blobs_.contains(digest_of("hello world")));
}

TEST_F(UploadStoreTest, ABlobThatIsNotAnnouncedIsNamedByItsBytes) {
  const auto upload = uploads_->create("host-1", 11, Digest{}, now_).value();
  ASSERT_TRUE(uploads_->keep(upload.id, "host-1", now_));
  ASSERT_TRUE(append(upload.id, 0, "hello "));
  reopen();
  EXPECT_EQ(uploads_->resume("host-1", 11, Digest{}, now_).error().code, Errc::kNotFound);
  const auto status = append(upload.id, 6, "world");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(status->is_complete);
  EXPECT_EQ(status->digest, digest_of("hello world"));
  EXPECT_TRUE(blobs_.contains(digest_of("hello world")));
}

TEST_F(UploadStoreTest, WhenPublishingFailsTheLastPieceMayBeSentAgain) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hello "));
  block_publishing();
  const auto failed = append(id, 6, "world");
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("cannot"), std::string::npos);
  EXPECT_EQ(offset_of(id), 6U);
  EXPECT_FALSE(append(id, 6, "world"));
  allow_publishing();
  const auto status = append(id, 6, "world");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(status.value().is_complete);
  EXPECT_EQ(text_of(blobs_.read(digest_of("hello world"), 100).value()), "hello world");
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, AWholeUploadThatACrashKeptFromPublishingAsksForItsLastByte) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hello "));
  std::ofstream(data_of(id), std::ios::app) << "world";
  reopen();
  EXPECT_EQ(offset_of(id), 10U);
  EXPECT_TRUE(append(id, 10, "d").value().is_complete);
  EXPECT_EQ(text_of(blobs_.read(digest_of("hello world"), 100).value()), "hello world");
}

TEST_F(UploadStoreTest, BytesWrittenButNeverAcknowledgedCountAfterACrash) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hell"));
  std::ofstream(data_of(id), std::ios::app) << "o w";
  reopen();
  EXPECT_EQ(offset_of(id), 7U);
  EXPECT_TRUE(append(id, 7, "orld").value().is_complete);
}

TEST_F(UploadStoreTest, BytesThatACrashDamagedAreFoundOut) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hello "));
  std::ofstream(data_of(id)) << "jello ";
  reopen();
  EXPECT_EQ(append(id, 6, "world").error().code, Errc::kInvalidArgument);
  EXPECT_FALSE(blobs_.contains(digest_of("hello world")));
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, AFailedWriteKeepsTheUploadWhereItStood) {
  std::string content(400'000, 'a');
  const std::string id =
      uploads_->create("host-1", content.size(), digest_of(content), now_).value().id;
  ASSERT_TRUE(append(id, 0, std::string_view(content).substr(0, 100'000)));
  // No file may grow beyond 200,000 bytes for now: the next piece is written by half.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{200'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed = append(id, 100'000, std::string_view(content).substr(100'000));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("cannot write"), std::string::npos);
  EXPECT_EQ(offset_of(id), 100'000U);
  EXPECT_EQ(std::filesystem::file_size(data_of(id)), 100'000U);
  EXPECT_TRUE(append(id, 100'000, std::string_view(content).substr(100'000)).value().is_complete);
}

TEST_F(UploadStoreTest, AFullDiskSaysWhatToDo) {
  const Error error = disk_error("cannot write", "uploads/x.data", ENOSPC);
  EXPECT_EQ(error.code, Errc::kResourceExhausted);
  EXPECT_EQ(error.message,
            "cannot write uploads/x.data: disk full (No space left on device); free some space on "
            "the server and try again");
  EXPECT_EQ(disk_error("cannot write", "x", EIO).code, Errc::kInternal);
}

TEST_F(UploadStoreTest, AnUploadWhoseFileIsGoneIsGone) {
  const std::string id = start();
  std::filesystem::remove(data_of(id));
  EXPECT_EQ(append(id, 0, "hello").error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->count(), 0U);
}

TEST_F(UploadStoreTest, AFailedCreateCountsForNothing) {
  limits_.count_per_owner_max = 1;
  reopen();
  std::filesystem::remove_all(folder_.path() / "uploads");
  EXPECT_FALSE(uploads_->create("host-1", 11, digest_of("hello world"), now_));
  EXPECT_EQ(uploads_->count(), 0U);
  std::filesystem::create_directory(folder_.path() / "uploads");
  EXPECT_TRUE(uploads_->create("host-1", 11, digest_of("hello world"), now_));
}

TEST_F(UploadStoreTest, ARestartDropsWhatItCannotReadAndKeepsTheRest) {
  const std::string id = start();
  const auto folder = folder_.path() / "uploads";
  std::ofstream(folder / "a.info") << "manyhands-upload 1\nhost-1\n11\n";
  std::ofstream(folder / "a.data") << "x";
  std::ofstream(folder / "b.data") << "without info";
  std::ofstream(folder / "c.info") << "manyhands-upload 9\nhost-1\n11\nx\n1\nend\n";
  std::filesystem::copy(folder / (id + ".info"), folder / "d.info");
  std::filesystem::copy(folder / (id + ".info"), folder / "e.info");
  std::ofstream(folder / "e.data") << "longer than announced";
  reopen();
  EXPECT_EQ(uploads_->count(), 1U);
  EXPECT_EQ(file_count("uploads"), 2U);
  EXPECT_EQ(offset_of(id), 0U);
}

TEST_F(UploadStoreTest, ARestartKeepsOwnersApartAndTheirNamesWhole) {
  const std::string owner = "account 7, \"Ann\"";
  const auto upload = uploads_->create(owner, 11, digest_of("hello world"), now_).value();
  ASSERT_TRUE(uploads_->keep(upload.id, owner, now_));
  reopen();
  EXPECT_EQ(uploads_->find(upload.id, "host-1", now_).error().code, Errc::kNotFound);
  EXPECT_EQ(uploads_->find(upload.id, owner, now_).value().length, 11U);
  EXPECT_EQ(uploads_->create("two\nlines", 11, digest_of("x"), now_).error().code,
            Errc::kInvalidArgument);
}

TEST_F(UploadStoreTest, ALongUploadLivesOnAcrossARestart) {
  const std::string id = start();
  now_ += limits_.lifetime - std::chrono::milliseconds(1);
  ASSERT_TRUE(append(id, 0, "hello "));
  now_ += std::chrono::hours(1);
  reopen();
  EXPECT_EQ(offset_of(id), 6U);
  EXPECT_EQ(file_count("uploads"), 2U);
  now_ += limits_.lifetime;
  EXPECT_EQ(uploads_->find(id, "host-1", now_).error().code, Errc::kNotFound);
  EXPECT_EQ(append(id, 6, "world").error().code, Errc::kNotFound);
  reopen();
  EXPECT_EQ(uploads_->count(), 0U);
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, APieceOfNothingChangesNothing) {
  const std::string id = start();
  ASSERT_TRUE(append(id, 0, "hello "));
  EXPECT_EQ(append(id, 6, "").value().offset, 6U);
  EXPECT_TRUE(append(id, 6, "world").value().is_complete);
}

TEST_F(UploadStoreTest, TwoOwnersMayUploadTheSameBlobAtATime) {
  const std::string id = start();
  const auto other = uploads_->create("host-2", 11, digest_of("hello world"), now_).value();
  ASSERT_TRUE(append(id, 0, "hello "));
  EXPECT_TRUE(
      uploads_->append(other.id, "host-2", 0, bytes_of("hello world"), now_).value().is_complete);
  EXPECT_TRUE(append(id, 6, "world").value().is_complete);
  EXPECT_EQ(file_count("blobs"), 1U);
  EXPECT_EQ(file_count("uploads"), 0U);
}

TEST_F(UploadStoreTest, IdleUploadsHoldNoFileOpen) {
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  const auto before = open_files();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(append(start(), 0, "hello "));
  EXPECT_EQ(open_files(), before);
}

TEST_F(UploadStoreTest, OfAppendsAtATimeOneIsTaken) {
  const std::string content(1'000'000, 'a');
  const std::string id =
      uploads_->create("host-1", content.size(), digest_of(content), now_).value().id;
  std::atomic<int> taken{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const auto status = append(id, 0, std::string_view(content).substr(0, 900'000));
      if (status) {
        ++taken;
      } else {
        EXPECT_EQ(status.error().code, Errc::kAborted) << status.error().message;
        ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(refused, 3);
  EXPECT_TRUE(append(id, 900'000, std::string_view(content).substr(900'000)).value().is_complete);
}

TEST_F(UploadStoreTest, ManyOwnersUploadAtATime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      const std::string owner = "host-" + std::to_string(t);
      for (int i = 0; i < 20; ++i) {
        const std::string content = owner + " " + std::to_string(i % 5);
        const auto upload = uploads_->create(owner, content.size(), digest_of(content), now_);
        ASSERT_TRUE(upload) << upload.error().message;
        if (upload->is_complete) continue;
        EXPECT_TRUE(
            uploads_->append(upload->id, owner, 0, bytes_of(content), now_).value().is_complete);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(file_count("blobs"), 20U);
  EXPECT_EQ(uploads_->count(), 0U);
}

}  // namespace
}  // namespace mh::server
