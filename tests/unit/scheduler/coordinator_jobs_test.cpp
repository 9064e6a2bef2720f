// Jobs: steps, evaluations, checkpoints, failures, shares among jobs.
#include <limits>

#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class Jobs : public CoordinatorTest {};

TEST_F(Jobs, SubmittingTwiceWithOneRequestIdMakesOneJob) {
  start();
  JobSubmission job = small_job();
  job.request_id = "r1";
  const JobId first = submit(job);
  EXPECT_EQ(coordinator->job_of_request("r1"), first);
  restart();
  const Submitted again = take(coordinator->submit_job(job, now)).value();
  EXPECT_EQ(again.job, first);
  EXPECT_FALSE(again.is_new);
  EXPECT_EQ(store.jobs.size(), 1u);
  job.request_id.clear();
  EXPECT_NE(submit(job), first);
  EXPECT_FALSE(coordinator->job_of_request("").has_value());
}

TEST_F(Jobs, RefusesSizesThatMakeNoJob) {
  start();
  JobSubmission job = small_job();
  job.shard = 7;
  EXPECT_EQ(take(coordinator->submit_job(job, now)).error().message,
            "batch 32 is not a multiple of shard 7");
  job = small_job();
  job.batch = job.shard * 100'000;
  EXPECT_EQ(take(coordinator->submit_job(job, now)).error().code, Errc::kInvalidArgument);
  job = small_job();
  job.step_count = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(take(coordinator->submit_job(job, now)).error().code, Errc::kInvalidArgument);
  job = small_job();
  job.step_count = 0;
  EXPECT_EQ(take(coordinator->submit_job(job, now)).error().code, Errc::kInvalidArgument);
  job = evaluated_job();
  job.evaluation_shard = 0;
  EXPECT_EQ(take(coordinator->submit_job(job, now)).error().code, Errc::kInvalidArgument);
  EXPECT_TRUE(store.jobs.empty());
}

TEST_F(Jobs, AStepIsReadyWithItsUpdatesInTheOrderOfShards) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const auto work = ask(host, 4).assignments;
  for (const int i : {2, 0, 3}) {
    finish(host, work[i]);
    EXPECT_TRUE(effects.steps_ready.empty());
    ASSERT_EQ(effects.updates_accepted.size(), 1u);
    EXPECT_EQ(effects.updates_accepted[0].shard, static_cast<std::uint64_t>(i));
  }
  finish(host, work[1]);
  ASSERT_EQ(effects.steps_ready.size(), 1u);
  const StepReady& ready = effects.steps_ready[0];
  EXPECT_EQ(ready.job, job);
  EXPECT_EQ(ready.sample_count, 32u);
  EXPECT_EQ(ready.parameters_digest, digest_of("parameters small"));
  EXPECT_TRUE(ready.optimizer_digest.is_zero());
  ASSERT_EQ(ready.update_digests.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ready.update_digests[i], digest_of("update " + to_string(work[i].workunit)));
  }
}

TEST_F(Jobs, RunsAllStepsAndFinishesWithEverySampleCountedOnce) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  for (int i = 0; i < 3; ++i) run_step(job, host);
  const JobView done = view(job);
  EXPECT_EQ(done.row.state, JobState::kFinished);
  EXPECT_EQ(effects.jobs_ended, std::vector<JobId>{job});
  EXPECT_DOUBLE_EQ(done.row.training_loss, 0.5);
  EXPECT_DOUBLE_EQ(done.row.training_accuracy, 0.5);
  const JobSummary summary = coordinator->job_summary(job, now).value();
  EXPECT_EQ(summary.samples_counted, 96u);
  EXPECT_EQ(summary.samples_expected, 96u);
  EXPECT_DOUBLE_EQ(summary.hosts.at(0).row.credit, 12);
  EXPECT_GT(summary.training_seconds, 0);
  ASSERT_EQ(store.steps.size(), 3u);
  EXPECT_EQ((store.steps[{job, 1}].parameters_digest), output_of(job, 1).parameters_digest);
}

TEST_F(Jobs, ConsumedUpdatesAndOldOptimizerStatesAreReleased) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const auto work = ask(host, 4).assignments;
  for (const Assignment& one : work) finish(host, one);
  EXPECT_TRUE(coordinator->is_blob_referenced(digest_of("update 1")));
  complete(job, 0);
  EXPECT_EQ(effects.blobs_unreferenced.size(), 4u);
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("update 1")));
  EXPECT_TRUE(coordinator->is_blob_referenced(output_of(job, 0).optimizer_digest));
  run_step(job, host);
  EXPECT_FALSE(coordinator->is_blob_referenced(output_of(job, 0).optimizer_digest));
  EXPECT_TRUE(coordinator->is_blob_referenced(digest_of("parameters small")));
  run_step(job, host);
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("parameters small")));
  EXPECT_EQ(coordinator->models(job).size(), 3u);
}

TEST_F(Jobs, BlobsSharedByTwoJobsOutliveTheFirst) {
  start();
  const JobId first = submit(small_job());
  const JobId second = submit(small_job());
  for (const JobId job : {first, second}) {
    take(coordinator->update_job(job, JobAction::kCancel, 0, now)).value();
  }
  EXPECT_TRUE(coordinator->is_blob_referenced(digest_of("parameters small")));
  EXPECT_TRUE(effects.blobs_unreferenced.empty());
}

TEST_F(Jobs, ARestartAnnouncesTheStepInProgressAgain) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const auto work = ask(host, 4).assignments;
  finish(host, work[1]);
  finish(host, work[0]);
  restart();
  EXPECT_EQ(effects.updates_accepted.size(), 2u);
  EXPECT_TRUE(effects.steps_ready.empty());
  finish(host, work[2]);
  finish(host, work[3]);
  restart();
  EXPECT_EQ(effects.updates_accepted.size(), 4u);
  ASSERT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(effects.steps_ready[0].update_digests.size(), 4u);
}

TEST_F(Jobs, ACompletionOfAnotherStepChangesNothing) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  complete(job, 0);
  EXPECT_EQ(view(job).row.step, 0u);
  EXPECT_EQ(effects.blobs_unreferenced.size(), 2u);
  run_step(job, host);
  complete(job, 0);
  EXPECT_EQ(view(job).row.step, 1u);
  // The blobs of the real completion are still needed.
  EXPECT_TRUE(effects.blobs_unreferenced.empty());
}

TEST_F(Jobs, EvaluationsGoToTrustedHostsOnlyAndBeforeGradients) {
  start();
  const HostId plain = attach("plain");
  const HostId trusted = attach("trusted", true);
  const JobId job = submit(evaluated_job());
  run_step(job, plain);
  EXPECT_EQ(get(plain).kind, WorkKind::kGradient);
  const auto work = ask(trusted, 3).assignments;
  ASSERT_EQ(work.size(), 3u);
  std::uint64_t position = 0;
  for (const Assignment& one : work) {
    EXPECT_EQ(one.kind, WorkKind::kEvaluation);
    EXPECT_EQ(one.split, "test");
    EXPECT_EQ(one.begin, position);
    EXPECT_EQ(one.parameters_digest, output_of(job, 0).parameters_digest);
    position = one.end;
  }
  EXPECT_EQ(position, 100u);
  EXPECT_EQ(work[1].chunk_indices, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(work[2].chunk_indices, (std::vector<std::uint32_t>{1}));
  for (const Assignment& one : work) finish(trusted, one);
  const JobView after = view(job);
  ASSERT_TRUE(after.last_evaluation.has_value());
  EXPECT_EQ(after.last_evaluation->step, 1u);
  EXPECT_DOUBLE_EQ(after.last_evaluation->loss, 0.5);
  EXPECT_DOUBLE_EQ(after.last_evaluation->accuracy, 0.5);
  EXPECT_EQ((store.evaluations[{job, 1}].state), EvaluationState::kDone);
}

TEST_F(Jobs, WithoutATrustedHostTheJobTrainsAndThenWaitsForOne) {
  start();
  const HostId plain = attach("plain");
  const JobId job = submit(evaluated_job(0));
  for (int i = 0; i < 3; ++i) run_step(job, plain);
  EXPECT_EQ(view(job).row.state, JobState::kRunning);
  EXPECT_NE(view(job).waiting_reason.find("trusted host"), std::string::npos);
  EXPECT_EQ(ask(plain, 1).no_work_reason, "only evaluations wait, and they go to trusted hosts");
  restart();
  take(coordinator->set_trust(plain, true, now)).value();
  EXPECT_TRUE(effects.is_work_available);
  for (const Assignment& one : ask(plain, 3).assignments) finish(plain, one);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
}

TEST_F(Jobs, TooManyPendingEvaluationsSkipTheOldestButNeverTheLast) {
  CoordinatorOptions few;
  few.evaluations_pending_max = 2;
  few.checkpoints_kept = 1;
  start(few);
  const HostId plain = attach("plain");
  JobSubmission long_job = evaluated_job();
  long_job.step_count = 5;
  const JobId job = submit(long_job);
  for (int i = 0; i < 5; ++i) run_step(job, plain);
  EXPECT_EQ((store.evaluations[{job, 3}].state), EvaluationState::kSkipped);
  EXPECT_EQ((store.evaluations[{job, 4}].state), EvaluationState::kPending);
  EXPECT_EQ((store.evaluations[{job, 5}].state), EvaluationState::kPending);
  EXPECT_EQ(coordinator->models(job).size(), 2u);
}

TEST_F(Jobs, KeepsTheBestCheckpoint) {
  CoordinatorOptions few;
  few.checkpoints_kept = 1;
  start(few);
  const HostId host = attach("attic", true);
  const JobId job = submit(evaluated_job());
  std::uint64_t correct = 20;
  while (view(job).row.state == JobState::kRunning) {
    const ExchangeReply reply = ask(host, 1);
    if (reply.assignments.empty()) {
      complete(job, view(job).row.step);
      continue;
    }
    Report done = success(reply.assignments[0]);
    if (reply.assignments[0].kind == WorkKind::kEvaluation) done.correct_count = correct--;
    report(host, done);
    advance(10);
  }
  const auto models = coordinator->models(job);
  ASSERT_EQ(models.size(), 2u);
  EXPECT_TRUE(models[0].is_latest);
  EXPECT_EQ(models[1].step, 1u);
  EXPECT_TRUE(models[1].is_best);
  EXPECT_DOUBLE_EQ(models[1].evaluation->accuracy, (20 + 19 + 18) / 100.0);
}

TEST_F(Jobs, PausedJobsGiveNoWorkButTakeResults) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const auto work = ask(host, 3).assignments;
  take(coordinator->update_job(job, JobAction::kPause, 0, now)).value();
  EXPECT_EQ(ask(host, 1).no_work_reason, "every job is paused");
  EXPECT_EQ(finish(host, work[0]).verdict, Verdict::kValid);
  restart();
  EXPECT_EQ(finish(host, work[1]).verdict, Verdict::kValid);
  take(coordinator->update_job(job, JobAction::kResume, 0, now)).value();
  EXPECT_TRUE(effects.is_work_available);
  finish(host, work[2]);
  get(host);
}

TEST_F(Jobs, CancellingRevokesLeasesAndIsFinal) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const auto work = ask(host, 2).assignments;
  finish(host, work[0]);
  take(coordinator->update_job(job, JobAction::kCancel, 0, now)).value();
  EXPECT_EQ(effects.jobs_ended, std::vector<JobId>{job});
  EXPECT_EQ(ask(host, 1, {work[1].result}).revoked, std::vector<ResultId>{work[1].result});
  EXPECT_EQ(finish(host, work[1]).verdict, Verdict::kTooLate);
  EXPECT_EQ(finish(host, work[0]).verdict, Verdict::kValid);
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("update 1")));
  take(coordinator->update_job(job, JobAction::kCancel, 0, now)).value();
  EXPECT_EQ(take(coordinator->update_job(job, JobAction::kResume, 0, now)).error().code,
            Errc::kFailedPrecondition);
  EXPECT_EQ(take(coordinator->update_job(JobId(99), JobAction::kPause, 0, now)).error().code,
            Errc::kNotFound);
  const JobSummary summary = coordinator->job_summary(job, now).value();
  EXPECT_EQ(summary.samples_counted, 0u);
}

TEST_F(Jobs, ARejectedUpdateGoesElsewhereWithItsReason) {
  start();
  const HostId bad = attach("bad");
  const HostId good = attach("good");
  submit(small_job());
  const Assignment work = get(bad);
  Report refused = success(work);
  refused.screening = Screening::kRefused;
  refused.screening_reason = "element 3 is not finite";
  ReportVerdict verdict = report(bad, refused);
  EXPECT_EQ(verdict.verdict, Verdict::kRejected);
  EXPECT_EQ(verdict.reason, "element 3 is not finite");
  EXPECT_EQ(effects.updates_unused, std::vector<Digest>{refused.update_digest});
  EXPECT_EQ(report(bad, refused).verdict, Verdict::kRejected);
  EXPECT_EQ(coordinator->host(bad)->row.rejected_count, 1u);
  EXPECT_EQ(get(good).workunit, work.workunit);
  // It pauses half a second, then gets other work.
  EXPECT_TRUE(ask(bad, 1).assignments.empty());
  EXPECT_EQ(ask(bad, 1).retry_at, now + std::chrono::milliseconds(500));
  advance(500);
  EXPECT_NE(get(bad).workunit, work.workunit);
}

TEST_F(Jobs, ImpossibleNumbersAreRejected) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  auto work = ask(host, 3).assignments;
  Report report_of = success(work[0]);
  report_of.loss_sum = std::numeric_limits<double>::quiet_NaN();
  const std::string no_loss = "loss_sum is no loss of 8 samples";
  EXPECT_EQ(report(host, report_of).reason, no_loss);
  for (const double loss_sum : {1e300, -5.0}) {
    const HostId liar = attach("liar " + std::to_string(loss_sum));
    report_of = success(get(liar));
    report_of.loss_sum = loss_sum;
    EXPECT_EQ(report(liar, report_of).reason, no_loss);
  }
  report_of = success(work[1]);
  report_of.correct_count = 9;
  EXPECT_EQ(report(host, report_of).reason, "correct_count is 9, the workunit has 8 samples");
  report_of = success(work[2]);
  report_of.update_digest = {};
  EXPECT_EQ(report(host, report_of).reason, "update_digest is missing");
}

TEST_F(Jobs, AMissingUploadIsReturnedWithoutBlame) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  Report lost = success(get(host));
  lost.screening = Screening::kMissing;
  EXPECT_EQ(report(host, lost).verdict, Verdict::kNoted);
  EXPECT_EQ(coordinator->host(host)->row.failed_count, 0u);
  EXPECT_EQ(coordinator->host(host)->row.rejected_count, 0u);
}

TEST_F(Jobs, WorkThatFailsEverywhereFailsItsJob) {
  start();
  std::vector<HostId> hosts;
  for (int i = 0; i < 6; ++i) hosts.push_back(attach("host" + std::to_string(i)));
  JobSubmission one = small_job();
  one.shard = one.batch;
  const JobId job = submit(one);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(view(job).row.state, JobState::kRunning);
    Report failed;
    failed.result = get(hosts[i]).result;
    failed.outcome = Outcome::kFailed;
    failed.error = "out of memory";
    EXPECT_EQ(report(hosts[i], failed).verdict, Verdict::kNoted);
  }
  EXPECT_EQ(view(job).row.state, JobState::kFailed);
  EXPECT_EQ(view(job).row.state_reason, "shard 0 failed 5 times on 5 hosts; last: out of memory");
}

TEST_F(Jobs, OneBadHostAmongOthersCannotFailAJob) {
  start();
  const HostId bad = attach("bad");
  const HostId good = attach("good");
  JobSubmission one = small_job();
  one.shard = one.batch;
  const JobId job = submit(one);
  for (int i = 0; i < 12; ++i) {
    advance(400'000);
    ask(good, 0);
    Report failed;
    failed.result = get(bad).result;
    failed.outcome = Outcome::kFailed;
    report(bad, failed);
  }
  EXPECT_EQ(view(job).row.state, JobState::kRunning);
}

TEST_F(Jobs, AStepWhoseParametersAreNotFiniteFailsTheJob) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  for (const Assignment& one : ask(host, 4).assignments) finish(host, one);
  StepOutput output;
  output.failure = "parameter 12 is not finite; lower the learning rate";
  take(coordinator->step_completed(job, 0, output, now));
  EXPECT_EQ(view(job).row.state, JobState::kFailed);
  EXPECT_EQ(view(job).row.state_reason,
            "step 0: parameter 12 is not finite; lower the learning rate");
  EXPECT_EQ(effects.blobs_unreferenced.size(), 4u);
}

// Leases of each job in `count` calls of one host that finishes everything at once.
TEST_F(Jobs, ShareByPriorityAndStarveNobody) {
  CoordinatorOptions with;
  start(with);
  const HostId host = attach("attic");
  JobSubmission low = small_job("low");
  low.step_count = 1;
  low.batch = 8 * 450;
  low.priority = 0;
  JobSubmission high = low;
  high.name = "high";
  high.priority = 3;
  const JobId low_job = submit(low);
  const JobId high_job = submit(high);
  std::map<JobId, int> served;
  for (int i = 0; i < 500; ++i) {
    const Assignment work = get(host);
    ++served[work.job];
    advance(10);
    finish(host, work);
  }
  EXPECT_NEAR(served[low_job], 100, 12);
  EXPECT_NEAR(served[high_job], 400, 12);
}

TEST_F(Jobs, AHostPrefersTheJobWhoseDataItHolds) {
  start();
  const HostId host = attach("attic");
  submit(small_job("other"));
  JobSubmission mine = small_job("mine");
  mine.manifest_digest = digest_of("held");
  const JobId job = submit(mine);
  ExchangeEvent event;
  event.host = host;
  event.wanted = 1;
  event.holdings = {{digest_of("held"), 3}};
  EXPECT_EQ(exchange(event).assignments.at(0).job, job);
}

TEST_F(Jobs, WatchersSeeEveryChangeAsAGrowingVersion) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  std::uint64_t version = view(job).row.version;
  const auto has_moved = [&] {
    const std::uint64_t before = std::exchange(version, view(job).row.version);
    return version > before;
  };
  get(host);
  EXPECT_TRUE(has_moved());
  take(coordinator->update_job(job, JobAction::kSetPriority, 70, now)).value();
  EXPECT_TRUE(has_moved());
  EXPECT_EQ(effects.jobs_changed, std::vector<JobId>{job});
  take(coordinator->update_job(job, JobAction::kSetPriority, 70, now)).value();
  EXPECT_FALSE(has_moved());
  restart();
  EXPECT_EQ(view(job).row.version, version);
  EXPECT_FALSE(take(coordinator->update_job(job, JobAction::kSetPriority, 101, now)).has_value());
}

TEST_F(Jobs, ShowsSpeedAndRemainingTime) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  EXPECT_LT(view(job).eta_seconds, 0);
  const auto work = ask(host, 4).assignments;
  advance(1'000);
  finish(host, work[0]);
  advance(1'000);
  finish(host, work[1]);
  // 16 samples in the second since the first; 80 are left.
  EXPECT_DOUBLE_EQ(view(job).samples_per_second, 16);
  EXPECT_DOUBLE_EQ(view(job).eta_seconds, 5);
  EXPECT_EQ(view(job).active_host_count, 1u);
  advance(31'000);
  EXPECT_EQ(view(job).samples_per_second, 0);
  EXPECT_EQ(view(job).active_host_count, 0u);
  EXPECT_EQ(view(job).waiting_reason, "no volunteer is connected");
}

}  // namespace
}  // namespace mh::scheduler
