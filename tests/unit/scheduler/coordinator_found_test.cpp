// What manyhands-sim found in the scheduler, one case each, so that it stays mended.
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class Found : public CoordinatorTest {};

TEST_F(Found, NobodyTakesOverFromASlowHostWhereOnlyOneCopyMayLive) {
  CoordinatorOptions with;
  with.copies_max = 1;
  start(with);
  const HostId slow = attach("slow");
  const HostId fast = attach("fast");
  JobSubmission job = small_job();
  job.step_count = 2;
  const JobId id = submit(job);
  const Assignment first = get(slow);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(fast);
    advance(10);
    finish(fast, work);
  }
  advance(20'000);
  finish(slow, first);
  complete(id, 0);
  get(slow);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(fast);
    advance(10);
    finish(fast, work);
  }
  EXPECT_TRUE(ask(fast, 1).assignments.empty());
}

TEST_F(Found, ASleeperDoesNotGetItsLeaseBackBeyondTheCopiesThatMayLive) {
  CoordinatorOptions with;
  with.copies_max = 1;
  start(with);
  const HostId sleeper = attach("laptop");
  const HostId other = attach("attic");
  submit(small_job());
  const Assignment work = get(sleeper);
  advance(60'000);
  EXPECT_EQ(get(other).workunit, work.workunit);
  EXPECT_TRUE(ask(sleeper, 0, {work.result}).revoked.empty());
  EXPECT_EQ(coordinator->host(sleeper)->lease_count, 0u);
  EXPECT_EQ(finish(sleeper, work).verdict, Verdict::kValid) << "its result still counts";
}

TEST_F(Found, AHostDoesNotHoldAWorkunitTwice) {
  start();
  const HostId host = attach("laptop");
  JobSubmission job = small_job();
  job.batch = 8;
  submit(job);
  const Assignment first = get(host);
  advance(60'000);
  tick();
  advance(1'000);
  const Assignment second = get(host);
  EXPECT_EQ(first.workunit, second.workunit);
  ask(host, 0, {first.result, second.result});
  EXPECT_EQ(coordinator->host(host)->lease_count, 1u);
}

TEST_F(Found, AHostThatNamesNothingDoesNotKeepItsLeasesForEver) {
  start();
  const HostId host = attach("forgetful");
  submit(small_job());
  get(host);
  int calls = 0;
  while (coordinator->host(host)->lease_count == 1) {
    advance(10'000);
    ask(host, 0);
    ASSERT_LT(++calls, 100);
  }
  EXPECT_EQ(calls, 62);
}

TEST_F(Found, TheVerdictThatEndsAJobNamesItsOwnResult) {
  CoordinatorOptions with;
  with.failed_hosts_max = 1;
  start(with);
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const Assignment first = get(host);
  const Assignment second = get(host, {first.result});
  Report failure;
  failure.result = first.result;
  failure.outcome = Outcome::kFailed;
  failure.error = "the loss is not finite";
  const ReportVerdict verdict = report(host, failure);
  EXPECT_EQ(view(job).row.state, JobState::kFailed);
  EXPECT_EQ(verdict.result, first.result);
  EXPECT_EQ(verdict.verdict, Verdict::kNoted);
  EXPECT_EQ(finish(host, second).verdict, Verdict::kTooLate);
}

}  // namespace
}  // namespace mh::scheduler
