// Rule 28: updates that were found to be bad are taken out, and training goes on from there.
#include <algorithm>

#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class CoordinatorRewindTest : public CoordinatorTest {
 protected:
  void SetUp() override {
    CoordinatorOptions with;
    with.steps_retained = 8;
    with.pseudonym_secret = digest_of("secret");
    start(with);
    honest_ = attach("attic", true);
    cheat_ = attach("mallory");
  }

  static JobSubmission long_job(std::uint64_t steps = 10) {
    JobSubmission submission = small_job();
    submission.step_count = steps;
    return submission;
  }

  // Shards 0 and 2 by the honest host, 1 and 3 by the other.
  void run_shared_step(JobId job) {
    const std::uint64_t step = view(job).row.step;
    for (int i = 0; i < 2; ++i) {
      const Assignment mine = get(honest_);
      const Assignment theirs = get(cheat_);
      finish(honest_, mine);
      finish(cheat_, theirs);
      advance(10);
    }
    complete(job, step);
  }
  void run_shared_steps(JobId job, int count) {
    for (int i = 0; i < count; ++i) run_shared_step(job);
  }

  RewindOrder order_of(JobId job, std::uint64_t to, bool reapplies = false) const {
    RewindOrder order;
    order.job = job;
    order.to = to;
    order.hosts = {cheat_};
    order.reapplies = reapplies;
    order.reason = "flipped signs";
    return order;
  }

  Result<RewindPlan> plan(const RewindOrder& order) const {
    return coordinator->plan_rewind(order, store.past(order.job, order.to));
  }

  StepOutput again(std::uint64_t step) const {
    StepOutput output = output_of(JobId(99), step);
    output.gradient_norm = 2.5;
    return output;
  }

  Result<Rewound> rewind(const RewindOrder& order) {
    const RewindPast past = store.past(order.job, order.to);
    const auto made = coordinator->plan_rewind(order, past);
    if (!made) return made.error();
    std::vector<StepOutput> outputs;
    for (const StepReady& step : made->steps) outputs.push_back(again(step.step));
    return take(coordinator->rewind(order, past, *made, outputs, now));
  }

  std::vector<StepRecord> records(JobId job) const {
    std::vector<StepRecord> all;
    RecordChain chain;
    for (const auto& [key, row] : store.records) {
      if (key.first != job) continue;
      const auto record = chain.add(row.record);
      EXPECT_TRUE(record) << record.error().message;
      all.push_back(record.value());
    }
    return all;
  }

  // Samples of the steps that are done, by the rows of valid results.
  std::uint64_t counted_samples(JobId job) const {
    std::uint64_t samples = 0;
    for (const auto& [id, row] : store.workunits) {
      if (row.job == job && row.kind == WorkKind::kGradient && row.state == WorkunitState::kDone &&
          store.results.at(row.canonical).state == ResultState::kValid)
        samples += row.end - row.begin;
    }
    return samples;
  }

  void expect_same_after_restart(JobId job) {
    const JobRow before = view(job).row;
    const auto blobs = coordinator->referenced_blobs();
    const auto host = coordinator->host(cheat_)->row;
    restart();
    coordinator->sanity_check();
    EXPECT_EQ(view(job).row, before);
    EXPECT_EQ(coordinator->referenced_blobs(), blobs);
    EXPECT_EQ(coordinator->host(cheat_)->row.credit, host.credit);
    EXPECT_EQ(coordinator->host(cheat_)->row.standing, host.standing);
  }

  HostId honest_;
  HostId cheat_;
};

TEST_F(CoordinatorRewindTest, PlansTheStepWithoutTheHost) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  const auto made = plan(order_of(job, 2));
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_EQ(made->steps.size(), 1U);
  const StepReady& step = made->steps.front();
  EXPECT_EQ(step.step, 2U);
  EXPECT_EQ(step.sample_count, 16U);
  EXPECT_EQ(step.parameters_digest, output_of(job, 1).parameters_digest);
  EXPECT_EQ(step.optimizer_digest, output_of(job, 1).optimizer_digest);
  EXPECT_EQ(step.update_digests,
            (std::vector<Digest>{digest_of("update 9"), digest_of("update 11")}));
  EXPECT_EQ(step.host_groups, (std::vector<std::uint32_t>{0, 0}));
}

TEST_F(CoordinatorRewindTest, TrainingGoesOnAfterTheStep) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  const auto rewound = rewind(order_of(job, 2));
  ASSERT_TRUE(rewound) << rewound.error().message;
  EXPECT_TRUE(rewound->is_new);
  EXPECT_EQ(rewound->step, 3U);
  EXPECT_EQ(rewound->undone_step_count, 2U);
  EXPECT_EQ(rewound->reapplied_step_count, 0U);
  EXPECT_EQ(rewound->removed_update_count, 6U);
  EXPECT_EQ(effects.jobs_rewound, std::vector<JobId>{job});
  const JobRow row = view(job).row;
  EXPECT_EQ(row.step, 3U);
  EXPECT_EQ(row.parameters_digest, again(2).parameters_digest);
  EXPECT_EQ(row.optimizer_digest, again(2).optimizer_digest);
  EXPECT_EQ(row.removed_sample_count, 16U);
  EXPECT_EQ(counted_samples(job), 3 * 32U - 16);
  EXPECT_EQ(store.steps.at({job, 2}).sample_count, 16U);
  expect_same_after_restart(job);
  for (int i = 0; i < 7; ++i) run_step(job, honest_);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(counted_samples(job), 10 * 32U - 16);
}

TEST_F(CoordinatorRewindTest, TheRecordSaysWhatWasDone) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  ASSERT_TRUE(rewind(order_of(job, 2)));
  run_step(job, honest_);
  const std::vector<StepRecord> all = records(job);
  ASSERT_EQ(all.size(), 7U);
  EXPECT_EQ(all[5].kind, RecordKind::kRewind);
  EXPECT_EQ(all[5].reason, "flipped signs");
  EXPECT_EQ(all[5].step, 2U);
  EXPECT_EQ(all[5].sample_count, 16U);
  EXPECT_EQ(all[5].loss, 0.5);
  EXPECT_EQ(all[5].gradient_norm, 2.5);
  ASSERT_EQ(all[5].updates.size(), 2U);
  EXPECT_EQ(all[5].updates[1].begin, 80U);
  EXPECT_EQ(all[5].updates[1].digest, digest_of("update 11"));
  EXPECT_EQ(all[6].kind, RecordKind::kStep);
  EXPECT_EQ(all[6].step, 3U);
  const JobLogRow& entry = store.log.back();
  EXPECT_EQ(entry.text.find("rewound to step 2 without host 2 (mallory): 6 updates taken out, 2 "
                            "later steps to be computed anew: flipped signs"),
            0U)
      << entry.text;
}

TEST_F(CoordinatorRewindTest, CreditFollows) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  EXPECT_EQ(coordinator->host(cheat_)->row.credit, 10);
  const auto rewound = rewind(order_of(job, 2));
  ASSERT_TRUE(rewound);
  EXPECT_EQ(rewound->withdrawn_gflop, 6);
  const HostRow cheat = coordinator->host(cheat_)->row;
  EXPECT_EQ(cheat.credit, 4);
  EXPECT_EQ(cheat.valid_count, 4U);
  EXPECT_EQ(cheat.rejected_count, 6U);
  EXPECT_EQ(cheat.standing, Standing::kBanned);
  EXPECT_EQ(store.balances.at({job, cheat_}), 4);
  EXPECT_NE(cheat.standing_reason.find("flipped signs"), std::string::npos);
  // Nobody else pays for it.
  EXPECT_EQ(coordinator->host(honest_)->row.credit, 10);
  EXPECT_EQ(coordinator->host(honest_)->row.valid_count, 10U);
  EXPECT_TRUE(ask(cheat_, 1).assignments.empty());
}

TEST_F(CoordinatorRewindTest, LaterStepsMayBeAppliedAgain) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  const RewindOrder order = order_of(job, 2, true);
  const auto made = plan(order);
  ASSERT_TRUE(made);
  ASSERT_EQ(made->steps.size(), 3U);
  EXPECT_TRUE(made->steps[1].parameters_digest.is_zero());
  EXPECT_EQ(made->steps[2].update_digests,
            (std::vector<Digest>{digest_of("update 17"), digest_of("update 19")}));
  const auto rewound = rewind(order);
  ASSERT_TRUE(rewound);
  EXPECT_EQ(rewound->reapplied_step_count, 2U);
  EXPECT_EQ(rewound->undone_step_count, 0U);
  EXPECT_EQ(view(job).row.step, 5U);
  EXPECT_EQ(view(job).row.parameters_digest, again(4).parameters_digest);
  EXPECT_EQ(view(job).row.removed_sample_count, 48U);
  EXPECT_EQ(counted_samples(job), 5 * 32U - 48);
  const std::vector<StepRecord> all = records(job);
  ASSERT_EQ(all.size(), 8U);
  EXPECT_EQ(all[6].kind, RecordKind::kReapply);
  EXPECT_EQ(all[7].parameters_before, again(3).parameters_digest);
  expect_same_after_restart(job);
  for (int i = 0; i < 5; ++i) run_step(job, honest_);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
}

TEST_F(CoordinatorRewindTest, TheStepInProgressBeginsAnew) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 3);
  const Assignment done = get(honest_);
  finish(honest_, done);
  const Assignment leased = get(honest_);
  const Assignment other = get(cheat_);
  finish(cheat_, other);
  ASSERT_TRUE(rewind(order_of(job, 1, true)));
  EXPECT_EQ(store.results.at(done.result).state, ResultState::kUndone);
  EXPECT_EQ(store.results.at(leased.result).state, ResultState::kObsolete);
  EXPECT_EQ(store.results.at(other.result).state, ResultState::kRejected);
  EXPECT_FALSE(coordinator->is_blob_referenced(digest_of("update " + to_string(done.workunit))));
  const ExchangeReply reply = ask(honest_, 1, {leased.result});
  EXPECT_EQ(reply.revoked, std::vector<ResultId>{leased.result});
  ASSERT_EQ(reply.assignments.size(), 1U);
  EXPECT_EQ(reply.assignments[0].parameters_digest, again(2).parameters_digest);
  // Its work was right, and its credit stays; what the host repeats is answered as before.
  EXPECT_EQ(coordinator->host(honest_)->row.credit, 7);
  EXPECT_EQ(report(honest_, success(done)).verdict, Verdict::kValid);
  EXPECT_EQ(report(cheat_, success(other)).verdict, Verdict::kRejected);
  expect_same_after_restart(job);
}

TEST_F(CoordinatorRewindTest, AFinishedJobRunsAgain) {
  const JobId job = submit(long_job(4));
  run_shared_steps(job, 4);
  ASSERT_EQ(view(job).row.state, JobState::kFinished);
  // After a start the contributions of ended jobs are in the store only.
  Snapshot snapshot = store.snapshot();
  snapshot.contributions.clear();
  snapshot.agreements.clear();
  coordinator = std::make_unique<Coordinator>(options, std::move(snapshot), now);
  ASSERT_TRUE(rewind(order_of(job, 2)));
  EXPECT_EQ(view(job).row.state, JobState::kRunning);
  EXPECT_EQ(view(job).row.finished, TimePoint{});
  EXPECT_EQ(view(job).row.step, 3U);
  EXPECT_EQ(store.contributions.at({job, cheat_}).credit, 4);
  expect_same_after_restart(job);
  run_step(job, honest_);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(counted_samples(job), 4 * 32U - 16);
}

TEST_F(CoordinatorRewindTest, AFinishedJobWhoseStepsAreAppliedAgainEndsAgain) {
  const JobId job = submit(long_job(4));
  run_shared_steps(job, 4);
  ASSERT_TRUE(rewind(order_of(job, 2, true)));
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(view(job).row.parameters_digest, again(3).parameters_digest);
  expect_same_after_restart(job);
}

TEST_F(CoordinatorRewindTest, AFailedJobRunsAgain) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 3);
  for (int i = 0; i < 2; ++i) {
    finish(honest_, get(honest_));
    finish(cheat_, get(cheat_));
  }
  StepOutput failed;
  failed.failure = "the new parameters are not finite";
  take(coordinator->step_completed(job, 3, failed, now));
  ASSERT_EQ(view(job).row.state, JobState::kFailed);
  ASSERT_TRUE(rewind(order_of(job, 2)));
  EXPECT_EQ(view(job).row.state, JobState::kRunning);
  EXPECT_EQ(view(job).row.state_reason, "");
  expect_same_after_restart(job);
  for (int i = 0; i < 7; ++i) run_step(job, honest_);
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(counted_samples(job), 10 * 32U - 16);
}

TEST_F(CoordinatorRewindTest, ToRepeatItChangesNothing) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  ASSERT_TRUE(rewind(order_of(job, 2)));
  run_step(job, honest_);
  const JobRow before = view(job).row;
  const auto repeated = rewind(order_of(job, 2));
  ASSERT_TRUE(repeated) << repeated.error().message;
  EXPECT_FALSE(repeated->is_new);
  EXPECT_EQ(view(job).row, before);
}

TEST_F(CoordinatorRewindTest, ASecondOneGoesFurtherBack) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 5);
  ASSERT_TRUE(rewind(order_of(job, 3, true)));
  EXPECT_EQ(view(job).row.removed_sample_count, 32U);
  ASSERT_TRUE(rewind(order_of(job, 1)));
  EXPECT_EQ(view(job).row.removed_sample_count, 16U);
  EXPECT_EQ(view(job).row.step, 2U);
  EXPECT_EQ(coordinator->host(cheat_)->row.credit, 2);
  EXPECT_EQ(counted_samples(job), 2 * 32U - 16);
  expect_same_after_restart(job);
}

TEST_F(CoordinatorRewindTest, EvaluationsOfWhatIsPastDoNotCount) {
  JobSubmission submission = evaluated_job();
  submission.step_count = 6;
  const JobId job = submit(submission);
  for (int step = 0; step < 4; ++step) {
    run_shared_step(job);
    // The last one stays half done.
    for (int i = 0; i < (step == 3 ? 2 : 3); ++i) finish(honest_, get(honest_));
  }
  ASSERT_EQ(view(job).last_evaluation->step, 3U);
  ASSERT_TRUE(rewind(order_of(job, 1)));
  ASSERT_TRUE(view(job).last_evaluation.has_value());
  EXPECT_EQ(view(job).last_evaluation->step, 1U);
  EXPECT_EQ(view(job).best_evaluation->step, 1U);
  EXPECT_EQ(store.evaluations.at({job, 3}).state, EvaluationState::kSkipped);
  EXPECT_EQ(store.evaluations.at({job, 2}).state, EvaluationState::kPending);
  expect_same_after_restart(job);
  while (view(job).row.state == JobState::kRunning) {
    const ExchangeReply reply = ask(honest_, 1);
    if (reply.assignments.empty()) {
      complete(job, view(job).row.step);
      continue;
    }
    finish(honest_, reply.assignments[0]);
    expect_same_after_restart(job);
    advance(10);
  }
  EXPECT_EQ(view(job).row.state, JobState::kFinished);
  EXPECT_EQ(view(job).last_evaluation->step, 6U);
  EXPECT_EQ(store.evaluations.at({job, 3}).state, EvaluationState::kDone);
}

TEST_F(CoordinatorRewindTest, AJobThatIsHeldGivesOutNothing) {
  const JobId job = submit(long_job());
  take(coordinator->hold(job, true));
  EXPECT_TRUE(ask(honest_, 1).assignments.empty());
  EXPECT_EQ(view(job).waiting_reason, "the job is being rewound");
  take(coordinator->hold(job, false));
  EXPECT_TRUE(effects.is_work_available);
  get(honest_);
}

TEST_F(CoordinatorRewindTest, WhatMovedOnMeanwhileIsNotRewound) {
  const JobId job = submit(long_job());
  run_shared_steps(job, 3);
  const RewindOrder order = order_of(job, 1);
  const auto made = plan(order);
  ASSERT_TRUE(made);
  run_shared_step(job);
  const auto late = take(coordinator->rewind(order, store.past(job, 1), *made, {again(1)}, now));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kAborted);
  EXPECT_EQ(view(job).row.step, 4U);
}

TEST_F(CoordinatorRewindTest, SaysWhatCannotBe) {
  const JobId job = submit(long_job(20));
  run_step(job, honest_);
  run_step(job, cheat_);
  run_shared_steps(job, 7);
  const auto error = [this](const RewindOrder& order) {
    const auto made = plan(order);
    return made ? "" : std::string(errc_name(made.error().code)) + ": " + made.error().message;
  };
  RewindOrder order = order_of(job, 9);
  EXPECT_NE(error(order).find("to: 9, job 1 has done 9 steps, numbers 0 to 8"), std::string::npos);
  order = order_of(job, 0);
  EXPECT_NE(error(order).find("no longer kept; those of steps 1 to 8 are"), std::string::npos);
  order = order_of(job, 1);
  EXPECT_NE(error(order).find("would have updates of 0 hosts, it needs 1: rewind to an earlier"),
            std::string::npos)
      << error(order);
  order = order_of(JobId(7), 1);
  EXPECT_NE(error(order).find("there is no job 7"), std::string::npos);
  order = order_of(job, 3);
  order.hosts = {HostId(77)};
  EXPECT_NE(error(order).find("there is no host 77"), std::string::npos);
  order.hosts = {attach("cellar")};
  EXPECT_NE(error(order).find("has no update of host 3 (cellar) from step 3 on"),
            std::string::npos);
  order.hosts.clear();
  EXPECT_NE(error(order).find("0 hosts are named"), std::string::npos);
  order = order_of(job, 3);
  order.reason.assign(401, 'x');
  EXPECT_NE(error(order).find("401 bytes"), std::string::npos);
  order.reason = "\xff";
  EXPECT_NE(error(order).find("UTF-8"), std::string::npos);
  ASSERT_TRUE(take(coordinator->update_job(job, JobAction::kCancel, 0, now)));
  EXPECT_NE(error(order_of(job, 3)).find("was cancelled"), std::string::npos);
}

TEST_F(CoordinatorRewindTest, ARobustStepNeedsItsHosts) {
  JobSubmission submission = long_job();
  submission.hosts_min = 2;
  const JobId job = submit(submission);
  run_shared_steps(job, 3);
  const auto made = plan(order_of(job, 1));
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("updates of 1 host, it needs 2"), std::string::npos)
      << made.error().message;
}

}  // namespace
}  // namespace mh::scheduler
