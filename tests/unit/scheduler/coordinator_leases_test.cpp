// Leases, renewals, lost replies, backups: with exact times.
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

class Leases : public CoordinatorTest {};

TEST_F(Leases, GivesEachShardOnceAndSaysWhyThereIsNoMore) {
  start();
  const HostId host = attach("attic");
  EXPECT_EQ(ask(host, 1).no_work_reason, "no job is running");
  submit(small_job());
  const ExchangeReply reply = ask(host, 4);
  ASSERT_EQ(reply.assignments.size(), 4u);
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(reply.assignments[i].begin, i * 8);
    EXPECT_EQ(reply.assignments[i].split, "train");
    EXPECT_EQ(reply.assignments[i].parameters_digest, digest_of("parameters small"));
    EXPECT_DOUBLE_EQ(reply.assignments[i].flops, 1e9);
  }
  EXPECT_TRUE(reply.is_drained);
  const HostId other = attach("barn");
  EXPECT_EQ(ask(other, 1).no_work_reason, "all work of the step in progress is given out");
}

TEST_F(Leases, ALeaseEndsAtItsDeadlineAndNotBefore) {
  start();
  const HostId dead = attach("dead");
  const HostId alive = attach("alive");
  submit(small_job());
  const ExchangeReply held = ask(dead, 4);
  EXPECT_EQ(held.assignments[0].lease, milliseconds(30'000));
  advance(29'999);
  tick();
  EXPECT_EQ(coordinator->host(dead)->lease_count, 4u);
  EXPECT_EQ(wake_at, now + milliseconds(1));
  advance(1);
  tick();
  EXPECT_TRUE(effects.is_work_available);
  EXPECT_EQ(coordinator->host(dead)->lease_count, 0u);
  EXPECT_EQ(coordinator->host(dead)->row.lost_count, 4u);
  EXPECT_EQ(coordinator->host(dead)->row.lease_quota, 1u);
  EXPECT_EQ(ask(alive, 4).assignments.size(), 4u);
}

TEST_F(Leases, NamingALeaseRenewsItByItsLength) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment work = get(host);
  advance(20'000);
  ask(host, 0, {work.result});
  advance(29'999);
  tick();
  EXPECT_EQ(coordinator->host(host)->lease_count, 1u);
  advance(1);
  tick();
  EXPECT_EQ(coordinator->host(host)->lease_count, 0u);
}

TEST_F(Leases, AHeldCallRenewsFromItsArrivalOnly) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment work = get(host);
  ExchangeEvent parked;
  parked.host = host;
  parked.held = {work.result};
  parked.received = now;
  for (int i = 0; i < 29; ++i) {
    advance(1'000);
    take(coordinator->exchange(parked, now)).value();
  }
  advance(1'000);
  tick();
  EXPECT_EQ(coordinator->host(host)->lease_count, 0u);
}

TEST_F(Leases, AHungTrainerCannotRenewForEver) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment work = get(host);
  int renewals = 0;
  while (coordinator->host(host)->lease_count == 1) {
    advance(10'000);
    ask(host, 0, {work.result});
    ASSERT_LT(++renewals, 100);
  }
  // Renewable for ten minutes, and the last renewal lasts 30 s.
  EXPECT_EQ(renewals, 62);
}

TEST_F(Leases, ASleeperThatStillNamesItsLeaseGetsItBack) {
  start();
  const HostId host = attach("laptop");
  submit(small_job());
  const Assignment work = get(host);
  advance(60'000);
  tick();
  EXPECT_EQ(coordinator->host(host)->lease_count, 0u);
  EXPECT_TRUE(ask(host, 0, {work.result}).revoked.empty());
  EXPECT_EQ(coordinator->host(host)->lease_count, 1u);
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
}

TEST_F(Leases, LateResultCountsWhileNobodyElseWasFirst) {
  start();
  const HostId slow = attach("slow");
  const HostId fast = attach("fast");
  submit(small_job());
  const Assignment first = get(slow);
  const Assignment second = get(slow, {first.result});
  advance(40'000);
  tick();
  EXPECT_EQ(finish(slow, first).verdict, Verdict::kValid);
  const Assignment again = get(fast);
  EXPECT_EQ(again.workunit, second.workunit);
  EXPECT_EQ(finish(fast, again).verdict, Verdict::kValid);
  const ReportVerdict late = finish(slow, second);
  EXPECT_EQ(late.verdict, Verdict::kTooLate);
  EXPECT_EQ(late.credit, 0);
}

TEST_F(Leases, AnswersARepeatedReportTheSameAndCountsItOnce) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const Assignment work = get(host);
  const ReportVerdict first = finish(host, work);
  const ReportVerdict second = finish(host, work);
  EXPECT_EQ(first.verdict, Verdict::kValid);
  EXPECT_EQ(second.verdict, Verdict::kValid);
  EXPECT_DOUBLE_EQ(second.credit, 1);
  EXPECT_EQ(coordinator->job_summary(job, now)->hosts.at(0).row.sample_count, 8u);
  restart();
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
  EXPECT_DOUBLE_EQ(coordinator->host(host)->row.credit, 1);
}

TEST_F(Leases, RemembersAReportAcrossTheEndOfItsStep) {
  start();
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const Assignment work = get(host);
  finish(host, work);
  run_step(job, host);
  EXPECT_EQ(view(job).row.step, 1u);
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
  restart();
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
}

TEST_F(Leases, NobodyReportsInAnothersName) {
  start();
  const HostId honest = attach("honest");
  const HostId thief = attach("thief");
  submit(small_job());
  const Assignment work = get(honest);
  EXPECT_EQ(finish(thief, work).verdict, Verdict::kUnknown);
  EXPECT_FALSE(coordinator->result_info(thief, work.result).has_value());
  EXPECT_EQ(ask(thief, 0, {work.result}).revoked, std::vector<ResultId>{work.result});
  EXPECT_EQ(finish(honest, work).verdict, Verdict::kValid);
}

TEST_F(Leases, SendsALeaseAgainWhoseReplyWasLostAfterASecond) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment lost = get(host);
  advance(999);
  ExchangeReply reply = ask(host, 1);
  EXPECT_NE(reply.assignments.at(0).result, lost.result);
  EXPECT_EQ(reply.retry_at, now + milliseconds(1));
  const ResultId second = reply.assignments[0].result;
  advance(1);
  reply = ask(host, 1, {second});
  ASSERT_EQ(reply.assignments.size(), 1u);
  EXPECT_EQ(reply.assignments[0].result, lost.result);
}

TEST_F(Leases, DoesNotSendAgainWhatTheHostNames) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment held = get(host);
  advance(5'000);
  EXPECT_NE(get(host, {held.result}).result, held.result);
}

TEST_F(Leases, SendsLeasesAgainAtOnceToARestartedClient) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment first = get(host);
  ExchangeEvent event;
  event.host = host;
  event.wanted = 2;
  event.description = HostDescription{};
  const ExchangeReply reply = exchange(event);
  ASSERT_EQ(reply.assignments.size(), 2u);
  EXPECT_EQ(reply.assignments[0].result, first.result);
  EXPECT_NE(reply.assignments[1].result, first.result);
}

TEST_F(Leases, TellsARestartedClientOfItsLeasesEvenIfItWantsNoWork) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment first = get(host);
  ExchangeEvent event;
  event.host = host;
  event.description = HostDescription{};
  const ExchangeReply reply = exchange(event);
  ASSERT_EQ(reply.assignments.size(), 1u);
  EXPECT_EQ(reply.assignments[0].result, first.result);
  EXPECT_TRUE(ask(host, 0).is_parkable());
}

TEST_F(Leases, AParkedCallIsNotSentWhatWasGrantedMeanwhile) {
  start();
  const HostId host = attach("attic");
  ExchangeEvent parked;
  parked.host = host;
  parked.wanted = 1;
  parked.received = now;
  EXPECT_TRUE(take(coordinator->exchange(parked, now)).value().is_parkable());
  advance(5'000);
  submit(small_job());
  EXPECT_TRUE(effects.is_work_available);
  const Assignment work = get(host);
  advance(2'000);
  const ExchangeReply reply = take(coordinator->exchange(parked, now)).value();
  ASSERT_EQ(reply.assignments.size(), 1u);
  EXPECT_NE(reply.assignments[0].result, work.result);
}

TEST_F(Leases, AnIdleHostBacksUpADeadOneSoon) {
  start();
  const HostId dead = attach("dead");
  const HostId idle = attach("idle");
  const JobId job = submit(small_job());
  // Both are measured first: one step of 10 ms a workunit.
  for (const HostId host : {dead, idle, dead, idle}) {
    const Assignment work = get(host);
    advance(10);
    finish(host, work);
  }
  complete(job, 0);
  const Assignment lost = get(dead);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(idle);
    advance(10);
    finish(idle, work);
  }
  EXPECT_TRUE(ask(idle, 1).assignments.empty());
  advance(250 - 30 - 1);
  EXPECT_TRUE(ask(idle, 1).assignments.empty());
  EXPECT_EQ(wake_at, now + milliseconds(1));
  advance(1);
  tick();
  EXPECT_TRUE(effects.is_work_available);
  const Assignment backup = get(idle);
  EXPECT_EQ(backup.workunit, lost.workunit);
  EXPECT_NE(backup.result, lost.result);
  EXPECT_EQ(finish(idle, backup).verdict, Verdict::kValid);
  EXPECT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(ask(dead, 0, {lost.result}).revoked, std::vector<ResultId>{lost.result});
  EXPECT_EQ(finish(dead, lost).verdict, Verdict::kTooLate);
  EXPECT_EQ(coordinator->job_summary(job, now)->hosts.at(1).row.reissued_count, 1u);
}

TEST_F(Leases, AFastIdleHostTakesOverFromASlowOneWithoutWaiting) {
  start();
  const HostId slow = attach("slow");
  const HostId fast = attach("fast");
  const JobId job = submit(small_job());
  const Assignment a = get(slow);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(fast);
    advance(10);
    finish(fast, work);
  }
  advance(10'000);
  finish(slow, a);
  complete(job, 0);
  const Assignment held = get(slow);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(fast);
    advance(10);
    finish(fast, work);
  }
  EXPECT_EQ(get(fast).workunit, held.workunit);
}

TEST_F(Leases, TheOnlyHostGetsItsOwnWorkunitAgainAfterASecond) {
  start();
  const HostId host = attach("attic");
  JobSubmission one = small_job();
  one.shard = one.batch;
  submit(one);
  const Assignment work = get(host);
  Report returned;
  returned.result = work.result;
  EXPECT_EQ(report(host, returned).verdict, Verdict::kNoted);
  advance(999);
  const ExchangeReply reply = ask(host, 1);
  EXPECT_TRUE(reply.assignments.empty());
  EXPECT_EQ(reply.retry_at, now + milliseconds(1));
  advance(1);
  EXPECT_EQ(get(host).workunit, work.workunit);
}

TEST_F(Leases, LeavesTheLastWorkunitsToIdleHosts) {
  start();
  const HostId first = attach("first");
  const HostId second = attach("second");
  ask(second, 1);  // Waits.
  JobSubmission two = small_job();
  two.shard = 16;
  submit(two);
  EXPECT_EQ(ask(first, 2).assignments.size(), 1u);
  EXPECT_EQ(ask(second, 2).assignments.size(), 1u);
}

TEST_F(Leases, NoGradientLiesBehindAnEvaluationWhileAnotherHostIsSoonFree) {
  start();
  const HostId trusted = attach("trusted", true);
  const HostId plain = attach("plain");
  JobSubmission job = evaluated_job();
  job.evaluation_sample_count = 1'000;
  job.evaluation_shard = 1'000;
  job.evaluation_flops = 1e9 / 8;
  const JobId id = submit(job);
  for (const HostId host : {trusted, plain, trusted, plain}) {
    const Assignment work = get(host);
    advance(10);
    finish(host, work);
  }
  complete(id, 0);
  // 1.25 s of evaluation against 10 ms for each gradient at the other host.
  const Assignment evaluation = get(trusted);
  EXPECT_EQ(evaluation.kind, WorkKind::kEvaluation);
  EXPECT_EQ(ask(plain, 2).assignments.size(), 2u);
  EXPECT_TRUE(ask(trusted, 1, {evaluation.result}).assignments.empty());
}

TEST_F(Leases, WhatFailedOnAHostIsNotBackedUpByIt) {
  start();
  const HostId broken = attach("broken");
  const HostId holder = attach("holder");
  JobSubmission one = small_job();
  one.shard = one.batch;
  submit(one);
  Report failed;
  failed.result = get(broken).result;
  failed.outcome = Outcome::kFailed;
  report(broken, failed);
  get(holder);
  advance(10'000);
  tick();
  EXPECT_TRUE(ask(broken, 1).assignments.empty());
  EXPECT_EQ(get(attach("third")).begin, 0u);
}

TEST_F(Leases, ThePauseAfterFailuresDoublesAndASuccessEndsIt) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const auto fail_one = [&] {
    Report failed;
    failed.result = get(host).result;
    failed.outcome = Outcome::kFailed;
    report(host, failed);
  };
  for (const std::int64_t pause : {500, 1'000, 2'000}) {
    fail_one();
    EXPECT_EQ(ask(host, 1).retry_at, now + milliseconds(pause));
    advance(pause);
  }
  finish(host, get(host));
  fail_one();
  EXPECT_EQ(ask(host, 1).retry_at, now + milliseconds(500));
}

TEST_F(Leases, TheQuotaGrowsWithValidResultsAndHalvesOnTrouble) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  EXPECT_EQ(coordinator->host(host)->row.lease_quota, 4u);
  finish(host, get(host));
  EXPECT_EQ(coordinator->host(host)->row.lease_quota, 5u);
  Report failed;
  failed.result = get(host).result;
  failed.outcome = Outcome::kFailed;
  report(host, failed);
  EXPECT_EQ(coordinator->host(host)->row.lease_quota, 2u);
}

TEST_F(Leases, DetachReturnsLeasesAtOnce) {
  start();
  const HostId gone = attach("gone");
  const HostId other = attach("other");
  submit(small_job());
  ask(gone, 4);
  take(coordinator->detach(gone, now)).value();
  EXPECT_TRUE(effects.is_work_available);
  EXPECT_EQ(ask(other, 4).assignments.size(), 4u);
  ExchangeEvent event;
  event.host = gone;
  EXPECT_EQ(take(coordinator->exchange(event, now)).error().code, Errc::kUnauthenticated);
  take(coordinator->detach(gone, now)).value();
  EXPECT_EQ(take(coordinator->attach(gone, {}, {}, now)).error().code, Errc::kFailedPrecondition);
}

TEST_F(Leases, LeasesSurviveARestartWithGrace) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment work = get(host);
  advance(29'000);
  restart();
  EXPECT_EQ(coordinator->host(host)->lease_count, 1u);
  advance(34'999);
  tick();
  EXPECT_EQ(coordinator->host(host)->lease_count, 1u);
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
}

TEST_F(Leases, ALeaseGrantedJustBeforeACrashIsSentAgainAtOnce) {
  start();
  const HostId host = attach("attic");
  submit(small_job());
  const Assignment lost = get(host);
  restart();
  EXPECT_EQ(get(host).result, lost.result);
}

}  // namespace
}  // namespace mh::scheduler
