// gc deletes what nothing needs, and nothing else.
#include "server/folder_gc.h"

#include <algorithm>

#include "server/folder_check.h"
#include "server/upload_store.h"
#include "tests/unit/server/folder_fixture.h"

namespace mh::server {
namespace {

class FolderGcTest : public FolderTest {
 protected:
  static GcOptions at_once() {
    GcOptions options;
    options.orphan_age = std::chrono::milliseconds(0);
    return options;
  }
  GcReport gc(const GcOptions& options) {
    auto report = gc_folder(folder().root, options, SystemClock().now() + std::chrono::seconds(1));
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : GcReport{};
  }
  bool is_whole() {
    const auto report = check_folder(folder().root, {}, SystemClock().now());
    return report && report->is_whole() && report->orphan_count == 0;
  }
  std::vector<std::uint64_t> kept_steps() {
    std::vector<std::uint64_t> steps;
    for (const auto& model : coordinator_->models(job_)) steps.push_back(model.step);
    std::sort(steps.begin(), steps.end());
    return steps;
  }
};

TEST_F(FolderGcTest, RefusesARunningServer) {
  const auto report = gc_folder(folder().root, {}, now_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::kUnavailable);
  EXPECT_NE(report.error().message.find("in use"), std::string::npos);
}

TEST_F(FolderGcTest, RefusesWhileABackupHoldsTheBlobs) {
  stop();
  const UniqueFd hold = hold_blobs(folder().blobs()).value();
  const auto report = gc_folder(folder().root, {}, now_);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("backup"), std::string::npos);
}

TEST_F(FolderGcTest, DeletesOrphansAndLeavesAServerThatGoesOn) {
  do_steps(4);
  compute(2);
  const Digest orphan = blobs_->put("nobody needs this").value();
  stop();
  const GcReport report = gc(at_once());
  EXPECT_EQ(report.blob_count, 1U);
  EXPECT_EQ(report.blob_bytes, 17U);
  EXPECT_FALSE(std::filesystem::exists(place(orphan)));
  EXPECT_TRUE(is_whole());
  EXPECT_EQ(gc(at_once()).blob_count, 0U);
  start();
  compute(2);
  finish_step();
}

TEST_F(FolderGcTest, LeavesYoungOrphansThatAHostMayStillReport) {
  const Digest young = blobs_->put("reported tomorrow").value();
  const Digest old = blobs_->put("never reported").value();
  make_old(place(old), 25);
  stop();
  const GcReport report = gc({});
  EXPECT_EQ(report.blob_count, 1U);
  EXPECT_EQ(report.young_count, 1U);
  EXPECT_TRUE(std::filesystem::exists(place(young)));
  EXPECT_FALSE(std::filesystem::exists(place(old)));
}

TEST_F(FolderGcTest, ADryRunSaysTheSameAndDeletesNothing) {
  do_steps(3);
  const Digest orphan = blobs_->put("nobody needs this").value();
  stop();
  GcOptions options = at_once();
  options.is_dry_run = true;
  options.retention = Retention{1, 0};
  const GcReport report = gc(options);
  EXPECT_EQ(report.checkpoint_count, 2U);
  EXPECT_EQ(report.blob_count, 3U);
  EXPECT_TRUE(std::filesystem::exists(place(orphan)));
  start();
  EXPECT_EQ(kept_steps(), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(FolderGcTest, DeletesNothingWhileAManifestCannotBeRead) {
  const Digest orphan = blobs_->put("nobody needs this").value();
  stop();
  damage(place(manifest_));
  const auto report = gc_folder(folder().root, at_once(), now_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::kDataLoss);
  EXPECT_TRUE(std::filesystem::exists(place(orphan)));
}

TEST_F(FolderGcTest, WithoutRetentionEveryCheckpointStays) {
  do_steps(5);
  stop();
  EXPECT_EQ(gc(at_once()).checkpoint_count, 0U);
  start();
  EXPECT_EQ(kept_steps(), (std::vector<std::uint64_t>{3, 4, 5}));
}

TEST_F(FolderGcTest, RetentionLetsGoOfOlderCheckpointsOfEndedJobsToo) {
  do_steps(5);
  cancel_job();
  stop();
  GcOptions options = at_once();
  options.retention = Retention{1, 3};
  const GcReport report = gc(options);
  EXPECT_EQ(report.checkpoint_count, 1U);
  EXPECT_EQ(report.blob_count, 1U);
  start();
  EXPECT_EQ(kept_steps(), (std::vector<std::uint64_t>{3, 5}));
  stop();
  EXPECT_TRUE(is_whole());
}

TEST_F(FolderGcTest, ABlobThatTwoJobsShareStaysWhileOneNeedsIt) {
  const Digest shared = job_row().job_digest;
  cancel_job();
  stop();
  gc(at_once());
  EXPECT_TRUE(std::filesystem::exists(place(shared)));
  EXPECT_TRUE(is_whole());
}

TEST_F(FolderGcTest, KeepsTheManifestOfAnEndedJobWhoseDataSetIsGone) {
  do_steps(1);
  cancel_job();
  Transaction removal;
  removal.removed_datasets = {"digits"};
  commit(std::move(removal));
  stop();
  // Both chunks; the job's models are named by the manifest.
  EXPECT_EQ(gc(at_once()).blob_count, 2U);
  EXPECT_TRUE(std::filesystem::exists(place(manifest_)));
  EXPECT_TRUE(is_whole());
}

TEST_F(FolderGcTest, DeletesAbandonedUploadsAndWhatACrashLeft) {
  const auto uploads = UploadStore::open(folder().uploads(), *blobs_, {}, now_).value();
  const auto living = uploads->create("host 1", 100, sha256("a"), now_).value();
  ASSERT_TRUE(uploads->keep(living.id, "host 1", now_));
  const auto old = uploads->create("host 1", 100, sha256("b"), now_ - std::chrono::hours(30));
  ASSERT_TRUE(uploads->keep(old->id, "host 1", now_ - std::chrono::hours(30)));
  std::ofstream(folder().uploads() / "stray.data") << "half";
  std::ofstream(folder().blobs() / "tmp-1-1") << "half";
  stop();
  const GcReport report = gc(at_once());
  EXPECT_EQ(report.upload_count, 3U);
  EXPECT_EQ(report.temporary_count, 1U);
  EXPECT_EQ(report.temporary_bytes, 4U);
  EXPECT_TRUE(std::filesystem::exists(folder().uploads() / (living.id + ".info")));
  EXPECT_TRUE(std::filesystem::exists(folder().uploads() / (living.id + ".data")));
}

}  // namespace
}  // namespace mh::server
