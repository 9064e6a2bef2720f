// Slow hosts among fast ones (rules 5, 10 and 11): who gets the last workunits, and that nobody
// starves.
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;
class SlowHosts : public CoordinatorTest {
 protected:
  // Three fast hosts need 10 ms for a workunit, a slow one ten seconds; each was measured twice.
  void measure() {
    start();
    slow = attach("slow");
    for (const char* name : {"a", "b", "c"}) fast.push_back(attach(name));
    JobSubmission submission = small_job();
    submission.step_count = 100;
    job = submit(submission);
    for (int step = 0; step < 2; ++step) {
      const Assignment late = get(slow);
      for (const HostId host : fast) {
        const Assignment work = get(host);
        advance(10);
        finish(host, work);
      }
      advance(10'000);
      finish(slow, late);
      complete(job, step);
    }
  }
  void let_fast_ones_ask() {
    for (const HostId host : fast) ask(host, 0);
  }

  HostId slow;
  std::vector<HostId> fast;
  JobId job;
};

TEST_F(SlowHosts, LeaveTheStepToFasterOnesThatAsk) {
  measure();
  std::map<HostId, Assignment> work;
  for (const HostId host : fast) work[host] = get(host);
  ExchangeReply reply = ask(slow, 1);
  EXPECT_TRUE(reply.assignments.empty());
  ASSERT_TRUE(reply.retry_at.has_value());
  EXPECT_GT(*reply.retry_at, now + milliseconds(60'000)) << "eight times its ten seconds";
  EXPECT_EQ(ask(fast[0], 2, {work[fast[0]].result}).assignments.size(), 1u) << "a prefetch instead";
}

TEST_F(SlowHosts, GetWorkAgainAfterAPauseBecauseTheyMayHaveBecomeFaster) {
  measure();
  advance(80'000);
  let_fast_ones_ask();
  for (const HostId host : fast) get(host);
  EXPECT_EQ(ask(slow, 1).assignments.size(), 1u);
}

TEST_F(SlowHosts, WorkOnWhenTheFastOnesAreGone) {
  measure();
  advance(31'000);
  tick();
  EXPECT_EQ(ask(slow, 1).assignments.size(), 1u);
}

TEST_F(SlowHosts, LeaveACopyToAFasterHostThatAsks) {
  measure();
  const Assignment lost = get(fast[0]);
  for (const HostId host : {fast[1], fast[2], fast[1]}) {
    const Assignment work = get(host);
    advance(10);
    finish(host, work);
  }
  EXPECT_TRUE(ask(fast[1], 1).assignments.empty());
  advance(300);
  tick();
  // The lease lasts five seconds at least; without the others it would be worth trying.
  EXPECT_TRUE(ask(fast[0], 0, {lost.result}).revoked.empty());
  advance(4'900);
  tick();
  EXPECT_TRUE(ask(fast[0], 0, {lost.result}).revoked.empty());
  EXPECT_TRUE(ask(slow, 1).assignments.empty());
  EXPECT_EQ(get(fast[1]).workunit, lost.workunit);
}

TEST_F(SlowHosts, AreKnownEvenIfACopyIsAlwaysFirst) {
  start();
  const HostId late = attach("late");
  const HostId quick = attach("quick");
  JobSubmission submission = small_job();
  submission.step_count = 100;
  const JobId long_job = submit(submission);
  for (int step = 0; step < 2; ++step) {
    const Assignment held = get(late);
    for (int i = 0; i < 3; ++i) {
      const Assignment work = get(quick);
      advance(10);
      finish(quick, work);
    }
    advance(step == 0 ? 10'000 : 500);
    tick();
    ask(late, 0, {held.result});
    const Assignment copy = get(quick);
    EXPECT_EQ(copy.workunit, held.workunit) << step;
    finish(quick, copy);
    complete(long_job, step);
  }
  get(quick);
  EXPECT_TRUE(ask(late, 1).assignments.empty());
}

}  // namespace
}  // namespace mh::scheduler
