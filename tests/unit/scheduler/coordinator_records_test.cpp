// Rule 26: each step leaves a record, and the blobs of the newest records are kept.
#include "proto/base/step_record.h"
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class CoordinatorRecordsTest : public CoordinatorTest {
 protected:
  void start_keeping(std::uint32_t steps, std::uint64_t bytes_max = UINT64_MAX) {
    CoordinatorOptions with;
    with.steps_retained = steps;
    with.retained_bytes_max = bytes_max;
    with.pseudonym_secret = digest_of("secret");
    start(with);
    host = attach("attic");
  }
  JobId submit_long(const std::string& name = "small") {
    JobSubmission submission = small_job(name);
    submission.step_count = 10;
    return submit(submission);
  }
  void run_steps(JobId job, int count) {
    for (int i = 0; i < count; ++i) run_step(job, host);
  }
  StepRecord record(JobId job, std::uint64_t sequence) const {
    return parse_step_record(store.records.at({job, sequence}).record).value();
  }
  std::vector<std::uint64_t> kept_steps(JobId job) const {
    std::vector<std::uint64_t> steps;
    for (const RetainedStep& step : coordinator->retained_steps(job)) steps.push_back(step.step);
    return steps;
  }

  HostId host;
};

TEST_F(CoordinatorRecordsTest, EachStepLeavesARecordInAChain) {
  start_keeping(2);
  const JobId job = submit(small_job());
  run_steps(job, 3);
  RecordChain chain;
  for (std::uint64_t sequence = 0; sequence < 3; ++sequence) {
    const StepRecordRow& row = store.records.at({job, sequence});
    EXPECT_EQ(row.digest, sha256(row.record));
    EXPECT_EQ(row.step, sequence);
    const auto taken = chain.add(row.record);
    ASSERT_TRUE(taken) << taken.error().message;
  }
  EXPECT_EQ(store.jobs.at(job).record_count, 3U);
  EXPECT_EQ(store.jobs.at(job).record_digest, chain.head());
}

TEST_F(CoordinatorRecordsTest, ARecordSaysWhatWentInAndWhatCameOut) {
  start_keeping(2);
  const JobId job = submit(small_job());
  run_steps(job, 2);
  const StepRecord second = record(job, 1);
  EXPECT_EQ(second.job_digest, digest_of("job small"));
  EXPECT_EQ(second.parameters_before, output_of(job, 0).parameters_digest);
  EXPECT_EQ(second.parameters_after, output_of(job, 1).parameters_digest);
  EXPECT_EQ(second.optimizer_before, output_of(job, 0).optimizer_digest);
  EXPECT_EQ(second.optimizer_after, output_of(job, 1).optimizer_digest);
  EXPECT_EQ(second.rule, "mean");
  EXPECT_EQ(second.sample_count, 32U);
  EXPECT_EQ(second.loss, 0.5);
  EXPECT_EQ(second.gradient_norm, 1.5);
  ASSERT_EQ(second.updates.size(), 4U);
  for (std::size_t shard = 0; shard < 4; ++shard) {
    const RecordedUpdate& update = second.updates[shard];
    EXPECT_EQ(update.begin, 32 + 8 * shard);
    EXPECT_EQ(update.end, 40 + 8 * shard);
    EXPECT_EQ(update.digest, digest_of("update " + std::to_string(5 + shard)));
    EXPECT_EQ(update.host, host_pseudonym(digest_of("secret"), job, host));
  }
  EXPECT_TRUE(record(job, 0).optimizer_before.is_zero());
}

TEST_F(CoordinatorRecordsTest, TheNewestStepsKeepTheirBlobs) {
  start_keeping(2);
  const JobId job = submit_long();
  run_steps(job, 4);
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{2, 3}));
  for (int update = 1; update <= 16; ++update) {
    const Digest digest = digest_of("update " + std::to_string(update));
    EXPECT_EQ(coordinator->is_blob_referenced(digest), update > 8) << update;
  }
  EXPECT_TRUE(coordinator->is_blob_referenced(output_of(job, 1).optimizer_digest));
  EXPECT_FALSE(coordinator->is_blob_referenced(output_of(job, 0).optimizer_digest));
}

TEST_F(CoordinatorRecordsTest, ARestartKeepsTheSame) {
  start_keeping(3);
  const JobId job = submit_long();
  run_steps(job, 5);
  const auto before = coordinator->referenced_blobs();
  restart();
  coordinator->sanity_check();
  EXPECT_EQ(coordinator->referenced_blobs(), before);
  run_steps(job, 1);
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{3, 4, 5}));
}

TEST_F(CoordinatorRecordsTest, AnEndedJobKeepsItsLastSteps) {
  start_keeping(2);
  const JobId job = submit(small_job());
  run_steps(job, 3);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{1, 2}));
  restart();
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(CoordinatorRecordsTest, TheOldestStepOfAllJobsGivesWayToTheBound) {
  // A step counts as five small files.
  start_keeping(10, 4 * 5 * 4'096);
  const JobId first = submit(small_job("first"));
  run_steps(first, 3);
  const JobId second = submit_long("second");
  run_steps(second, 2);
  EXPECT_EQ(kept_steps(first), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(kept_steps(second), (std::vector<std::uint64_t>{0, 1}));
  run_steps(second, 4);
  EXPECT_TRUE(kept_steps(first).empty());
  EXPECT_EQ(kept_steps(second), (std::vector<std::uint64_t>{2, 3, 4, 5}));
}

TEST_F(CoordinatorRecordsTest, AStartThatIsToKeepLessLetsGo) {
  start_keeping(4);
  const JobId job = submit_long();
  run_steps(job, 4);
  options.steps_retained = 1;
  restart();
  EXPECT_EQ(kept_steps(job).size(), 4U);
  take(coordinator->limit_retained());
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{3}));
  EXPECT_FALSE(effects.blobs_unreferenced.empty());
}

TEST_F(CoordinatorRecordsTest, WhatIsLostIsGivenUpWithAllBeforeIt) {
  start_keeping(4);
  const JobId job = submit_long();
  run_steps(job, 4);
  take(coordinator->give_up_retained(job, 1));
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(store.jobs.at(job).retained_from, 2U);
}

TEST_F(CoordinatorRecordsTest, ADamagedRecordKeepsNothingAndStopsNothing) {
  start_keeping(2);
  const JobId job = submit_long();
  run_steps(job, 3);
  store.records.at({job, 2}).record = "{}";
  restart();
  coordinator->sanity_check();
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("update 9")));
  run_steps(job, 3);
  EXPECT_EQ(kept_steps(job), (std::vector<std::uint64_t>{4, 5}));
}

TEST_F(CoordinatorRecordsTest, KeepingNothingIsPossible) {
  start_keeping(0);
  const JobId job = submit_long();
  run_steps(job, 2);
  EXPECT_TRUE(kept_steps(job).empty());
  EXPECT_EQ(store.records.size(), 2U);
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("update 5")));
}

}  // namespace
}  // namespace mh::scheduler
