// check finds what is damaged, says what to do, and nothing else.
#include "server/folder_check.h"

#include <atomic>
#include <thread>

#include "tests/unit/server/folder_fixture.h"

namespace mh::server {
namespace {

class FolderCheckTest : public FolderTest {
 protected:
  CheckReport check(CheckOptions options = {}) {
    auto report = check_folder(folder().root, options, SystemClock().now());
    EXPECT_TRUE(report) << report.error().message;
    return report ? *std::move(report) : CheckReport{};
  }
  // One finding of this kind whose text and advice hold these words.
  void expect_finding(const CheckReport& report, const std::string& kind, const std::string& what,
                      const std::string& advice) {
    ASSERT_EQ(report.damage.size(), 1U);
    EXPECT_EQ(report.damage[0].kind, kind);
    EXPECT_NE(report.damage[0].what.find(what), std::string::npos) << report.damage[0].what;
    EXPECT_NE(report.damage[0].advice.find(advice), std::string::npos) << report.damage[0].advice;
  }
  void execute(const std::string& sql) {
    auto database = Database::open(folder().database(), Database::Mode::kReadWrite);
    ASSERT_TRUE(database);
    ASSERT_TRUE(database->execute("PRAGMA foreign_keys=OFF"));
    const auto done = database->execute(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
};

TEST_F(FolderCheckTest, AStoppedServerThatIsWholeIsWhole) {
  do_steps(5);
  compute(2);
  stop();
  const CheckReport report = check();
  EXPECT_TRUE(report.is_whole()) << report.damage[0].what;
  EXPECT_FALSE(report.is_running);
  EXPECT_EQ(report.job_count, 1U);
  EXPECT_EQ(report.host_count, 1U);
  // Manifest, 2 chunks, job file, 3 checkpoints, optimizer state, 2 updates.
  EXPECT_EQ(report.blob_count, 10U);
  EXPECT_EQ(report.hashed_count, 10U);
  EXPECT_EQ(report.orphan_count, 0U);
}

TEST_F(FolderCheckTest, ARunningServerIsWholeToo) {
  do_steps(2);
  compute(1);
  const CheckReport report = check();
  EXPECT_TRUE(report.is_whole());
  EXPECT_TRUE(report.is_running);
  compute(1);
}

TEST_F(FolderCheckTest, WritesNothing) {
  stop();
  const auto before = std::filesystem::last_write_time(folder().database());
  check();
  EXPECT_EQ(std::filesystem::last_write_time(folder().database()), before);
  start();
}

TEST_F(FolderCheckTest, AFolderThatIsNoServersIsAnError) {
  EXPECT_EQ(check_folder(beside("nothing"), {}, now_).error().code, Errc::kNotFound);
}

TEST_F(FolderCheckTest, FindsAMissingChunkAndSaysToImportAgain) {
  std::filesystem::remove(place(chunks_[1]));
  expect_finding(check(), "blob missing", "chunk of data set \"digits\"",
                 "manyhands dataset import digits");
}

TEST_F(FolderCheckTest, FindsAChunkOfTheWrongSizeWithoutReadingIt) {
  std::filesystem::resize_file(place(chunks_[0]), 3);
  CheckOptions quick;
  quick.is_quick = true;
  expect_finding(check(quick), "blob damaged", "has 3 bytes instead of 8", "delete ");
}

TEST_F(FolderCheckTest, FindsOtherBytesByTheirDigest) {
  do_steps(1);
  damage(place(job_row().parameters_digest));
  CheckOptions quick;
  quick.is_quick = true;
  EXPECT_TRUE(check(quick).is_whole());
  expect_finding(check(), "blob damaged", "parameters after step 1 of job 1", "cannot go on");
}

TEST_F(FolderCheckTest, TellsWhatIsLostWithAnOlderCheckpoint) {
  do_steps(2);
  for (const auto& model : coordinator_->models(job_)) {
    if (model.step == 1) std::filesystem::remove(place(model.parameters_digest));
  }
  expect_finding(check(), "blob missing", "parameters after step 1", "only this checkpoint");
}

TEST_F(FolderCheckTest, FindsAMissingManifestAndSaysThatTheServerNeedsIt) {
  std::filesystem::remove(place(manifest_));
  // The job names it, too, and so do its chunks, which are not known without it.
  expect_finding(check(), "blob missing", "manifest of data set", "does not start");
}

TEST_F(FolderCheckTest, FindsAMissingUpdateOfTheStepInProgress) {
  compute(1);
  stop();
  std::filesystem::remove(place(last_update_));
  expect_finding(check(), "blob missing", "update of result", "cannot be finished");
}

TEST_F(FolderCheckTest, FindsRowsThatReferToNothing) {
  compute(1);
  stop();
  execute("DELETE FROM hosts");
  const CheckReport report = check();
  ASSERT_FALSE(report.is_whole());
  EXPECT_EQ(report.damage[0].kind, "database");
  EXPECT_NE(report.damage[0].what.find("hosts"), std::string::npos);
}

TEST_F(FolderCheckTest, FindsCreditThatNobodyEarned) {
  compute(1);
  stop();
  execute("UPDATE contributions SET credit = credit + 1");
  const CheckReport report = check();
  ASSERT_GE(report.damage.size(), 1U);
  EXPECT_EQ(report.damage[0].kind, "counting");
  EXPECT_NE(report.damage[0].what.find("credit"), std::string::npos);
}

TEST_F(FolderCheckTest, FindsSamplesThatCountTwice) {
  do_steps(1);
  stop();
  execute("UPDATE workunits SET range_begin = 0, range_end = 1 WHERE shard = 1 AND step = 0");
  const CheckReport report = check();
  ASSERT_EQ(report.damage.size(), 1U);
  EXPECT_NE(report.damage[0].what.find("1 samples are counted nowhere and 1 more than once"),
            std::string::npos)
      << report.damage[0].what;
}

TEST_F(FolderCheckTest, FindsAStateThatTheCoordinatorWouldNotTakeUp) {
  do_steps(1);
  stop();
  execute("DELETE FROM checkpoints WHERE step = 1");
  const CheckReport report = check();
  ASSERT_EQ(report.damage.size(), 1U);
  EXPECT_EQ(report.damage[0].kind, "coordinator");
  EXPECT_NE(report.damage[0].what.find("checkpoints"), std::string::npos) << report.damage[0].what;
}

TEST_F(FolderCheckTest, FindsATornPageOfTheDatabase) {
  do_steps(3);
  stop();
  std::fstream file(folder().database(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 * 3);
  file << std::string(4096, '\xff');
  file.close();
  const auto report = check_folder(folder().root, {}, now_);
  EXPECT_TRUE(!report || !report->is_whole());
}

TEST_F(FolderCheckTest, CountsOrphansAndForeignFilesWithoutCallingThemDamage) {
  const Digest orphan = blobs_->put("nobody needs this").value();
  std::ofstream(folder().blobs() / "notes.txt") << "mine";
  std::ofstream(folder().blobs() / "tmp-1-1") << "half";
  // It may be an update that is reported in a moment.
  EXPECT_EQ(check().orphan_count, 0U);
  make_old(place(orphan), 25);
  EXPECT_EQ(check().orphan_count, 1U);
  stop();
  const CheckReport report = check();
  EXPECT_TRUE(report.is_whole());
  EXPECT_EQ(report.orphan_count, 1U);
  EXPECT_EQ(report.orphan_bytes, 17U);
  EXPECT_EQ(report.temporary_count, 1U);
  EXPECT_EQ(report.strangers.size(), 1U);
}

TEST_F(FolderCheckTest, RaisesNoAlarmBesideAServerThatDeletes) {
  std::atomic<bool> is_over = false;
  std::thread checker([&] {
    for (int i = 0; i < 5; ++i) {
      const auto report = check_folder(folder().root, {}, SystemClock().now());
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_TRUE(report->is_whole()) << report->damage[0].what;
    }
    is_over = true;
  });
  while (!is_over) {
    if (job_row().step + 1 == job_row().step_count) {
      cancel_job();
      submit_job();
    }
    do_steps(1);
  }
  checker.join();
}

}  // namespace
}  // namespace mh::server
