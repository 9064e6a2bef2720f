// The books of the cache, the records of finished results and the client's folder, on a real disk.
#include "client/daemon/work_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "client/daemon/client_state.h"
#include "client/daemon/work_records.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;

class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "manyhands-client-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  // Puts a blob of `bytes` bytes into the folder, as a download would.
  Digest blob(char letter, std::size_t bytes) {
    const std::string content(bytes, letter);
    const Digest digest = sha256(content);
    write(folder_ / digest.hex(), content);
    return digest;
  }
  static bool never(const Digest&) { return false; }

  fs::path folder_;
};

using WorkCacheTest = FolderTest;

TEST_F(WorkCacheTest, DropsTheLeastRecentlyUsedFirst) {
  WorkCache cache(folder_, 250);
  const Digest a = blob('a', 100);
  const Digest b = blob('b', 100);
  const Digest c = blob('c', 100);
  for (const Digest& digest : {a, b, c}) ASSERT_TRUE(cache.add(digest).has_value());
  cache.touch(a);
  EXPECT_EQ(cache.shrink(never), std::vector<Digest>{b});
  EXPECT_FALSE(fs::exists(cache.path(b)));
  EXPECT_TRUE(fs::exists(cache.path(a)));
  EXPECT_EQ(cache.bytes(), 200u);
}

TEST_F(WorkCacheTest, KeepsWhatIsNeededEvenBeyondItsLimit) {
  WorkCache cache(folder_, 50);
  const Digest a = blob('a', 100);
  const Digest b = blob('b', 100);
  ASSERT_TRUE(cache.add(a).has_value());
  ASSERT_TRUE(cache.add(b).has_value());
  EXPECT_EQ(cache.shrink([&](const Digest& one) { return one == a; }), std::vector<Digest>{b});
  EXPECT_TRUE(cache.contains(a));
}

TEST_F(WorkCacheTest, BlobsOfEarlierRunsMustBeVerified) {
  const Digest a = blob('a', 100);
  WorkCache cache(folder_, 1000);
  ASSERT_TRUE(cache.contains(a));
  EXPECT_TRUE(cache.needs_verification(a));
  cache.set_verified(a);
  EXPECT_FALSE(cache.needs_verification(a));
  const Digest b = blob('b', 10);
  ASSERT_TRUE(cache.add(b).has_value());
  EXPECT_FALSE(cache.needs_verification(b)) << "a download was verified on its way";
}

TEST_F(WorkCacheTest, RemovesForeignFilesButKeepsFreshPartialDownloads) {
  const Digest a = sha256(std::string_view("a"));
  write(folder_ / (a.hex() + ".part"), "begun");
  write(folder_ / "note.txt", "hello");
  write(folder_ / "x.part", "?");
  const WorkCache cache(folder_, 1000);
  EXPECT_TRUE(fs::exists(folder_ / (a.hex() + ".part")));
  EXPECT_FALSE(fs::exists(folder_ / "note.txt"));
  EXPECT_FALSE(fs::exists(folder_ / "x.part"));
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST_F(WorkCacheTest, AddingTwiceCountsOnce) {
  WorkCache cache(folder_, 1000);
  const Digest a = blob('a', 100);
  ASSERT_TRUE(cache.add(a).has_value());
  ASSERT_TRUE(cache.add(a).has_value());
  EXPECT_EQ(cache.bytes(), 100u);
  cache.remove(a);
  EXPECT_EQ(cache.bytes(), 0u);
  EXPECT_FALSE(cache.add(a).has_value()) << "the file is gone";
}

class WorkRecordsTest : public FolderTest {
 protected:
  static Report finished(std::uint64_t result, std::uint64_t update_bytes) {
    Report report;
    report.result = ResultId(result);
    report.outcome = Outcome::kSuccess;
    report.update_bytes = update_bytes;
    report.update_digest = sha256(std::string_view("update"));
    report.loss_sum = 73.123456789012345;
    report.correct_count = 5;
    report.compute_ms = 40;
    return report;
  }
};

TEST_F(WorkRecordsTest, RecoversWholeResultsBitForBit) {
  WorkRecords records(folder_, HostId(3));
  write(records.update_path(ResultId(8)), "1234");
  ASSERT_TRUE(records.keep(finished(8, 4)).has_value());
  const auto recovered = WorkRecords(folder_, HostId(3)).recover();
  ASSERT_EQ(recovered.size(), 1u);
  EXPECT_EQ(recovered[0].result, ResultId(8));
  EXPECT_EQ(recovered[0].outcome, Outcome::kSuccess);
  EXPECT_EQ(recovered[0].loss_sum, 73.123456789012345);
  EXPECT_EQ(recovered[0].update_digest, sha256(std::string_view("update")));
  EXPECT_TRUE(fs::exists(records.update_path(ResultId(8))));
}

TEST_F(WorkRecordsTest, RemovesWhatIsNotWhole) {
  WorkRecords records(folder_, HostId(3));
  ASSERT_TRUE(records.keep(finished(1, 4)).has_value());  // its update is missing
  write(records.update_path(ResultId(2)), "12");          // was being computed
  write(records.update_path(ResultId(3)), "12");          // cut short
  ASSERT_TRUE(records.keep(finished(3, 4)).has_value());
  write(folder_ / "4.json", "{");
  EXPECT_TRUE(records.recover().empty());
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(WorkRecordsTest, RecordsOfAnotherHostAreNotDelivered) {
  WorkRecords records(folder_, HostId(3));
  ASSERT_TRUE(records.keep(finished(1, 0)).has_value());
  EXPECT_TRUE(WorkRecords(folder_, HostId(4)).recover().empty());
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(WorkRecordsTest, AVerdictRemovesRecordAndUpdate) {
  WorkRecords records(folder_, HostId(3));
  write(records.update_path(ResultId(8)), "1234");
  ASSERT_TRUE(records.keep(finished(8, 4)).has_value());
  records.drop(ResultId(8));
  EXPECT_TRUE(fs::is_empty(folder_));
}

using ClientStateTest = FolderTest;

TEST_F(ClientStateTest, ComesBackAsItWasAndIsPrivate) {
  const ClientFolder folder{folder_ / "client"};
  ASSERT_TRUE(make_client_folders(folder).has_value());
  EXPECT_EQ(load_state(folder).error().code, Errc::kNotFound);
  const ClientState state{.server = "https://127.0.0.1:8470",
                          .fingerprint = "F",
                          .authority_pem = "PEM",
                          .server_id = "0123456789abcdef",
                          .host = HostId(5),
                          .host_secret = "secret",
                          .name = "ada",
                          .is_paused = true};
  ASSERT_TRUE(save_state(folder, state).has_value());
  const auto loaded = load_state(folder);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->host, HostId(5));
  EXPECT_EQ(loaded->fingerprint, "F");
  EXPECT_EQ(loaded->authority_pem, "PEM");
  EXPECT_EQ(loaded->host_secret, "secret");
  EXPECT_EQ(loaded->name, "ada");
  EXPECT_TRUE(loaded->is_paused);
  struct stat info {};
  ASSERT_EQ(::stat(folder.state().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(folder.root.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(ClientStateTest, DamagedStateSaysWhatToDo) {
  const ClientFolder folder{folder_};
  write(folder.state(), "{\"server\":");
  const auto state = load_state(folder);
  ASSERT_FALSE(state.has_value());
  EXPECT_EQ(state.error().code, Errc::kDataLoss);
  EXPECT_NE(state.error().message.find("detach --force"), std::string::npos);
}

TEST_F(ClientStateTest, ASecondDaemonInTheSameFolderIsToldSo) {
  const ClientFolder folder{folder_};
  auto first = lock_folder(folder);
  ASSERT_TRUE(first.has_value());
  const auto second = lock_folder(folder);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Errc::kAborted);
  EXPECT_NE(second.error().message.find("another manyhands-client is running"), std::string::npos);
  first->reset();
  EXPECT_TRUE(lock_folder(folder).has_value());
}

}  // namespace
}  // namespace mh::client
