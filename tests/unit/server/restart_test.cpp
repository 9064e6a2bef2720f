// What a restart leaves on the disk is found there when somebody asks for it.
#include "tests/unit/server/folder_fixture.h"

namespace mh::server {
namespace {

class RestartTest : public FolderTest {
 protected:
  void restart() {
    stop();
    start();
  }
};

TEST_F(RestartTest, AnEndedJobsContributionsComeFromTheStore) {
  do_steps(3);
  cancel_job();
  const auto before = coordinator_->job_summary(job_, now_).value();
  ASSERT_EQ(before.hosts.size(), 1U);
  restart();
  coordinator_->sanity_check();
  EXPECT_TRUE(coordinator_->job_summary(job_, now_)->hosts.empty());
  const auto stored = store_->contributions(job_).value();
  const auto after = coordinator_->job_summary(job_, now_, stored).value();
  ASSERT_EQ(after.hosts.size(), 1U);
  EXPECT_EQ(after.hosts[0].row, before.hosts[0].row);
  EXPECT_EQ(after.samples_counted, before.samples_counted);
}

TEST_F(RestartTest, ARunningJobsContributionsAreInMemory) {
  do_steps(3);
  restart();
  const auto stored = store_->contributions(job_).value();
  // They are counted once, whether the stored ones are given or not.
  EXPECT_EQ(coordinator_->job_summary(job_, now_)->hosts.size(), 1U);
  EXPECT_EQ(coordinator_->job_summary(job_, now_, stored)->hosts.size(), 1U);
}

TEST_F(RestartTest, NothingOfAnEndedJobIsWrittenOver) {
  do_steps(2);
  const Digest specification = job_row().job_digest;
  cancel_job();
  const auto before = store_->contributions(job_).value();
  restart();
  coordinator_->count_download(host_, specification, 1'000);
  submit_job();
  do_steps(1);
  restart();
  EXPECT_EQ(store_->contributions(JobId(1)).value(), before);
}

TEST_F(RestartTest, HostsKeepTheCreditOfEndedJobs) {
  do_steps(2);
  cancel_job();
  const double credit = coordinator_->host(host_)->row.credit;
  restart();
  submit_job();
  compute(1);
  EXPECT_GT(coordinator_->host(host_)->row.credit, credit);
  coordinator_->sanity_check();
}

}  // namespace
}  // namespace mh::server
