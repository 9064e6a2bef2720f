// A backup is one moment of a server at work: whole, and a server can go on from it.
#include "server/folder_backup.h"

#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "tests/unit/server/folder_fixture.h"

namespace mh::server {
namespace {

class FolderBackupTest : public FolderTest {
 protected:
  BackupReport backup(const std::string& name, const BackupOptions& options = {}) {
    auto report = backup_folder(folder().root, beside(name), options, SystemClock().now());
    EXPECT_TRUE(report) << report.error().message;
    return report ? *std::move(report) : BackupReport{};
  }
  bool is_whole(const std::string& name) {
    const auto report = check_folder(beside(name), {}, SystemClock().now());
    if (report && !report->is_whole()) ADD_FAILURE() << report->damage[0].what;
    return report && report->is_whole();
  }
  std::uint64_t links_of(const std::filesystem::path& file) {
    struct stat status {};
    return ::stat(file.c_str(), &status) == 0 ? status.st_nlink : 0;
  }
  std::size_t entries_beside() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(temporary_.path())) {
      count += entry.exists() ? 1 : 0;
    }
    return count;
  }
};

TEST_F(FolderBackupTest, AServerGoesOnFromTheBackupOfARunningOne) {
  do_steps(3);
  compute(2);
  const scheduler::JobRow then = job_row();
  const BackupReport report = backup("copy");
  EXPECT_EQ(report.linked_count, report.check.blob_count);
  EXPECT_EQ(report.copied_count, 0U);
  compute(kShards - 2);
  finish_step();
  stop();
  std::filesystem::remove_all(folder().root);
  start_in({beside("copy")});
  EXPECT_EQ(job_row(), then);
  compute(kShards - 2);
  finish_step();
  EXPECT_EQ(job_row().step, 4U);
  EXPECT_TRUE(is_whole("copy"));
}

TEST_F(FolderBackupTest, BringsTheSecretFilesAlong) {
  backup("copy");
  const ServerFolder copy{beside("copy")};
  EXPECT_EQ(read_file(copy.admin_token(), 100).value(),
            read_file(folder().admin_token(), 100).value());
  struct stat status {};
  ASSERT_EQ(::stat(copy.admin_token().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_TRUE(std::filesystem::exists(copy.invitation()));
}

TEST_F(FolderBackupTest, CopiesWhenToldTo) {
  do_steps(1);
  BackupOptions options;
  options.is_copying = true;
  const BackupReport report = backup("copy", options);
  EXPECT_EQ(report.copied_count, report.check.blob_count);
  EXPECT_EQ(report.linked_count, 0U);
  EXPECT_EQ(links_of(place(job_row().parameters_digest)), 1U);
}

TEST_F(FolderBackupTest, OverwritesNothing) {
  backup("copy");
  const auto again = backup_folder(folder().root, beside("copy"), {}, now_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  std::filesystem::create_directory(beside("empty"));
  EXPECT_EQ(backup_folder(folder().root, beside("empty"), {}, now_).error().code,
            Errc::kAlreadyExists);
}

TEST_F(FolderBackupTest, LeavesNothingBehindWhenTheOriginalIsDamaged) {
  do_steps(1);
  damage(place(job_row().parameters_digest));
  const std::size_t before = entries_beside();
  const auto refused = backup_folder(folder().root, beside("copy"), {}, now_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kDataLoss);
  EXPECT_NE(refused.error().message.find("manyhands-server check"), std::string::npos);
  EXPECT_EQ(entries_beside(), before);
  BackupOptions despite;
  despite.is_despite_damage = true;
  EXPECT_EQ(backup("copy", despite).check.damage.size(), 1U);
}

TEST_F(FolderBackupTest, TheServerWritesOverNoFileThatABackupHas) {
  do_steps(3);
  const Digest parameters = job_row().parameters_digest;
  backup("copy");
  // The checkpoint is let go; its file is large enough to be kept for its blocks.
  do_steps(6);
  EXPECT_FALSE(std::filesystem::exists(place(parameters)));
  EXPECT_TRUE(is_whole("copy"));
}

TEST_F(FolderBackupTest, DeletionsWaitWhileTheBlobsAreHeld) {
  do_steps(3);
  std::vector<scheduler::ModelView> models = coordinator_->models(job_);
  {
    const UniqueFd hold = hold_blobs(folder().blobs()).value();
    do_steps(4);
    for (const auto& model : models) {
      EXPECT_TRUE(std::filesystem::exists(place(model.parameters_digest)));
    }
  }
  do_steps(1);
  for (const auto& model : models) {
    EXPECT_FALSE(std::filesystem::exists(place(model.parameters_digest)));
  }
}

TEST_F(FolderBackupTest, IsOneMomentOfAServerThatNeverRests) {
  std::atomic<bool> is_over = false;
  std::thread other([&] {
    for (int i = 0; i < 8; ++i) {
      BackupOptions options;
      options.is_copying = i % 2 == 1;
      const auto report = backup_folder(folder().root, beside("copy" + std::to_string(i)), options,
                                        SystemClock().now());
      EXPECT_TRUE(report) << report.error().message;
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
  other.join();
  stop();
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(is_whole("copy" + std::to_string(i)));
    start_in({beside("copy" + std::to_string(i))});
    stop();
  }
}

// A host's result that the lost server leased after the backup, reported to the restored one.
TEST_F(FolderBackupTest, AResultOfTheLostServerIsNotTakenForAnother) {
  compute(1);
  backup("copy");
  const auto lost = lease();
  ASSERT_TRUE(lost);
  stop();
  start_in({beside("copy")});
  const auto again = lease();
  ASSERT_TRUE(again);
  EXPECT_NE(again->result, lost->result);
  EXPECT_GT(again->result.value(), lost->result.value() + 1'000'000);
  EXPECT_EQ(report(lost->result).verdict, scheduler::Verdict::kTooLate);
  EXPECT_EQ(report(again->result).verdict, scheduler::Verdict::kValid);
}

}  // namespace
}  // namespace mh::server
