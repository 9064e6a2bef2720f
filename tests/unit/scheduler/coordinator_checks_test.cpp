// Results checked against each other: who checks whom, and what agrees (rules 20 to 22).
#include <algorithm>

#include "tests/unit/scheduler/coordinator_checks_fixture.h"

namespace mh::scheduler {
namespace {

TEST_F(Checks, ANewcomersResultCountsOnlyWhenAnotherHostAgrees) {
  start();
  job = submit(checked_job());
  const HostId first = attach("a");
  const HostId second = attach("b");
  const Assignment work = get(first);
  EXPECT_EQ(finish(first, work).verdict, Verdict::kPending);
  EXPECT_EQ(view(job).workunit_done_count, 0u);
  EXPECT_EQ(row(first).credit, 0);
  EXPECT_TRUE(ask(first, 1).assignments.empty()) << "nobody checks itself";
  const Assignment check = get(second);
  EXPECT_EQ(check.workunit, work.workunit);
  const ReportVerdict verdict = finish(second, check);
  EXPECT_EQ(verdict.verdict, Verdict::kValid);
  EXPECT_EQ(verdict.credit, 1);
  EXPECT_EQ(view(job).workunit_done_count, 1u);
  EXPECT_EQ(row(first).credit, 1) << "both members of an agreeing pair";
  EXPECT_EQ(row(second).credit, 1);
  EXPECT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(finish(first, work).verdict, Verdict::kValid) << "asked again, it hears the end of it";
}

TEST_F(Checks, TheFirstReportedOfThoseThatAgreeIsCanonical) {
  start();
  job = submit(checked_job());
  const HostId first = attach_of("a", {}, "A");
  const HostId second = attach_of("b", {}, "B");
  const Assignment one = get(first);
  report(first, other_bits(one, "first"));
  report(second, other_bits(get(second), "second"));
  ASSERT_EQ(effects.comparisons.size(), 1u) << "bits differ between classes: the shell measures";
  EXPECT_EQ(effects.comparisons[0].first_digest, other_bits(one, "first").update_digest);
  const Comparison asked = effects.comparisons[0];
  EXPECT_TRUE(ask(attach("c"), 1).assignments.empty()) << "nobody computes while it is compared";
  take(coordinator->compared(asked.first, asked.second, Distance{1e-6, 1e-12}, now));
  ASSERT_EQ(effects.updates_accepted.size(), 1u);
  EXPECT_EQ(effects.updates_accepted[0].update_digest, other_bits(one, "first").update_digest);
  EXPECT_EQ(effects.blobs_unreferenced.size(), 1u) << "the other one is needed no more";
}

TEST_F(Checks, TwoOfThreeDecideAndTheThirdEarnsNothing) {
  start();
  job = submit(checked_job());
  const HostId liar = attach("liar");
  const HostId first = attach("a");
  const HostId second = attach("b");
  differ(liar, first, second);
  EXPECT_EQ(row(liar).credit + row(liar).credit_held, 0);
  EXPECT_EQ(row(liar).rejected_count, 1u);
  EXPECT_EQ(standing(liar), Standing::kProbation);
  EXPECT_EQ(row(first).credit, 1);
  EXPECT_EQ(row(second).credit, 1);
  ASSERT_EQ(store.host_log.size(), 1u);
  EXPECT_EQ(store.host_log[0].host, liar);
  EXPECT_NE(store.host_log[0].text.find("differs from the results of 2 other hosts"),
            std::string::npos)
      << store.host_log[0].text;
}

TEST_F(Checks, HostsOfOneAccountOrNetworkDoNotCheckEachOther) {
  start();
  job = submit(checked_job());
  const HostId first = attach_of("a", {7, "198.51.100.0/24"});
  const HostId same_account = attach_of("b", {7, "203.0.113.0/24"});
  const HostId same_network = attach_of("c", {8, "198.51.100.0/24"});
  finish(first, get(first));
  EXPECT_TRUE(ask(same_account, 1).assignments.empty());
  const ExchangeReply reply = ask(same_network, 1);
  EXPECT_TRUE(reply.assignments.empty());
  EXPECT_NE(reply.no_work_reason.find("other accounts and networks"), std::string::npos);
  EXPECT_NE(view(job).waiting_reason.find("1 results wait for a check"), std::string::npos);
  const HostId other = attach_of("d", {8, "203.0.113.0/24"});
  finish(other, get(other));
  EXPECT_EQ(view(job).workunit_done_count, 1u);
}

TEST_F(Checks, TheWordOfATrustedHostIsEnough) {
  start();
  job = submit(checked_job());
  const HostId trusted = attach("trusted", true);
  EXPECT_EQ(finish(trusted, get(trusted)).verdict, Verdict::kValid) << "nobody checks it";
  complete_step();
  const HostId liar = attach("liar");
  report(liar, other_bits(get(liar)));
  const Assignment check = get(trusted);
  report(trusted, success(check));
  answer_comparisons({1.5, 1});
  EXPECT_EQ(view(job).workunit_done_count, 1u);
  EXPECT_EQ(standing(liar), Standing::kProbation);
  EXPECT_EQ(row(liar).credit, 0);
}

TEST_F(Checks, NewcomersCannotConfirmEachOtherWhereReliableHostsAre) {
  start();
  job = submit(checked_job());
  const HostId a = attach("a");
  const HostId b = attach("b");
  const HostId c = attach("c");
  make_records(a, b);
  make_records(b, c);
  const HostId sybil = attach("sybil");
  const HostId twin = attach("twin");
  const Assignment work = get(sybil);
  report(sybil, other_bits(work));
  EXPECT_TRUE(ask(twin, 1).assignments.empty()) << "the twin would say the same";
  report(a, success(get(a)));
  answer_comparisons({1.5, 1});
  report(b, success(get(b)));
  answer_comparisons({1.5, 1});
  EXPECT_EQ(standing(sybil), Standing::kProbation);
}

TEST_F(Checks, WhatAHostReportedCountsOnceAnAdminTrustsIt) {
  start();
  job = submit(checked_job(2));
  const HostId lone = attach("lone");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(finish(lone, get(lone)).verdict, Verdict::kPending);
  EXPECT_TRUE(ask(lone, 1).assignments.empty());
  take(coordinator->set_trust(lone, true, now)).value();
  EXPECT_EQ(view(job).workunit_done_count, 2u);
  EXPECT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(row(lone).credit, 2);
}

TEST_F(Checks, WhatAHostWithARecordDidIsKeptForATrustedHostForAWhile) {
  start();
  JobSubmission submission = checked_job();
  submission.validation.check_share_min = 1;
  job = submit(submission);
  const HostId sleeper = attach("sleeper");
  const HostId twin = attach("twin");
  make_records(sleeper, twin);
  const HostId trusted = attach("trusted", true);
  EXPECT_EQ(report(sleeper, other_bits(get(sleeper))).verdict, Verdict::kPending);
  const ExchangeReply reply = ask(twin, 1);
  EXPECT_TRUE(reply.assignments.empty()) << "the twin would say the same";
  ASSERT_TRUE(reply.retry_at.has_value());
  EXPECT_GE(*reply.retry_at, now + options.trusted_wait);
  finish(trusted, get(trusted));
  answer_comparisons({1.5, 1});
  EXPECT_EQ(standing(sleeper), Standing::kProbation);
  complete_step();
  finish(twin, get(twin));
  advance(60'000);
  const HostId other = attach("other");
  EXPECT_EQ(ask(other, 1).assignments.size(), 1u) << "the trusted host is away";
}

TEST_F(Checks, ANormThatStandsOutIsCheckedWhoeverSentIt) {
  CoordinatorOptions seldom;
  start(seldom);
  JobSubmission submission = checked_job();
  submission.validation.check_share_min = 0;
  job = submit(submission);
  const HostId first = attach("a");
  const HostId second = attach("b");
  const auto with_norm = [](const Assignment& work, double norm) {
    Report report = success(work);
    report.update_norm = norm;
    return report;
  };
  for (int i = 0; i < 400; ++i) {
    if (report(first, with_norm(get(first), 8)).verdict == Verdict::kPending) {
      report(second, with_norm(get(second), 8));
    }
    complete_step();
  }
  EXPECT_EQ(report(first, with_norm(get(first), 8e3)).verdict, Verdict::kPending) << "too long";
  report(second, with_norm(get(second), 8e3));
  complete_step();
  EXPECT_EQ(report(first, with_norm(get(first), 0)).verdict, Verdict::kPending) << "nothing in it";
}

TEST_F(Checks, ComparisonsAreAskedForAgainAfterARestart) {
  start();
  job = submit(checked_job());
  const HostId first = attach_of("a", {}, "A");
  const HostId second = attach_of("b", {}, "B");
  report(first, other_bits(get(first), "first"));
  report(second, other_bits(get(second), "second"));
  restart();
  ASSERT_EQ(effects.comparisons.size(), 1u);
  answer_comparisons({1e-6, 1e-12});
  EXPECT_EQ(view(job).workunit_done_count, 1u);
}

TEST_F(Checks, AReportThatWaitsSurvivesARestart) {
  start();
  job = submit(checked_job());
  const HostId first = attach("a");
  const HostId second = attach("b");
  const Assignment work = get(first);
  finish(first, work);
  restart();
  EXPECT_EQ(finish(first, work).verdict, Verdict::kPending);
  EXPECT_EQ(finish(second, get(second)).verdict, Verdict::kValid);
}

TEST_F(Checks, UnreadableUpdatesAreComputedAnewWithoutBlame) {
  start();
  job = submit(checked_job());
  const HostId first = attach_of("a", {}, "A");
  const HostId second = attach_of("b", {}, "B");
  report(first, other_bits(get(first), "first"));
  report(second, other_bits(get(second), "second"));
  const Comparison asked = effects.comparisons.at(0);
  take(coordinator->compared(asked.first, asked.second, std::nullopt, now));
  EXPECT_EQ(standing(first), Standing::kNew);
  EXPECT_EQ(row(first).rejected_count, 0u);
  EXPECT_EQ(effects.blobs_unreferenced.size(), 2u);
  const HostId third = attach("c");
  EXPECT_EQ(ask(third, 1).assignments.size(), 1u);
}

TEST_F(Checks, WhenNoTwoAgreeItBeginsAnew) {
  CoordinatorOptions few;
  few.reported_max = 3;
  start(few);
  job = submit(checked_job());
  for (const char* name : {"a", "b", "c"}) {
    const HostId host = attach(name);
    report(host, other_bits(get(host), name));
    answer_comparisons({1.5, 1});
    EXPECT_EQ(standing(host), Standing::kNew) << "nobody can be blamed";
  }
  EXPECT_EQ(view(job).workunit_done_count, 0u);
  const HostId fresh = attach("d");
  EXPECT_EQ(finish(fresh, get(fresh)).verdict, Verdict::kPending);
}

TEST_F(Checks, AJobThatEndsLetsGoOfWhatWaits) {
  start();
  job = submit(checked_job());
  const HostId first = attach("a");
  const Assignment work = get(first);
  finish(first, work);
  take(coordinator->update_job(job, JobAction::kCancel, 0, now)).value();
  EXPECT_FALSE(coordinator->is_blob_referenced(success(work).update_digest));
  EXPECT_EQ(finish(first, work).verdict, Verdict::kTooLate);
  EXPECT_EQ(row(first).credit, 0);
}

}  // namespace
}  // namespace mh::scheduler
