// Results checked against each other: rules 20 to 25.
#include <algorithm>

#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class Checks : public CoordinatorTest {
 protected:
  // One workunit a step keeps stories short.
  static JobSubmission checked_job(std::uint64_t workunits = 1) {
    JobSubmission job = small_job("checked");
    job.step_count = 10'000;
    job.batch = 8 * workunits;
    job.validation = kUsualValidation;
    return job;
  }

  HostId attach_of(const std::string& name, const HostOrigin& origin,
                   const std::string& model = "") {
    HostDescription description;
    description.name = name;
    description.device = "cpu";
    description.device_model = model;
    return take(coordinator->attach(std::nullopt, description, origin, now)).value();
  }

  static Report other_bits(const Assignment& work, const std::string& bits = "bad") {
    Report report = success(work);
    report.update_digest = digest_of(bits + to_string(work.workunit));
    return report;
  }

  HostRow row(HostId host) const { return coordinator->host(host)->row; }
  Standing standing(HostId host) const { return row(host).standing; }

  // `first` computes the one workunit of the step, `second` again if that is wanted.
  void agree(HostId first, HostId second) {
    if (finish(first, get(first)).verdict == Verdict::kPending) {
      EXPECT_EQ(finish(second, get(second)).verdict, Verdict::kValid);
    }
    complete_step();
  }
  void complete_step() {
    complete(job, view(job).row.step);
    advance(1'000);
  }
  // The digest that honest hosts of one class report.
  void make_records(HostId first, HostId second) {
    while (standing(first) != Standing::kRecord) agree(first, second);
    while (standing(second) != Standing::kRecord) agree(second, first);
  }
  // `liar` reports other bits, `first` and `second` the right ones.
  void differ(HostId liar, HostId first, HostId second) {
    const Assignment lie = get(liar);
    report(liar, other_bits(lie));
    const Assignment truth = get(first);
    report(first, success(truth));
    answer_comparisons({1.5, 1.0});
    finish(second, get(second));
    answer_comparisons({1.5, 1.0});
    complete_step();
  }
  void answer_comparisons(const Distance& distance) {
    const std::vector<Comparison> asked = effects.comparisons;
    for (const Comparison& one : asked) {
      take(coordinator->compared(one.first, one.second, distance, now));
    }
  }

  JobId job;
};

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

TEST_F(Checks, WhoDiffersTooOftenIsLimitedThenBannedUntilForgiven) {
  start();
  job = submit(checked_job());
  const HostId liar = attach("liar");
  const HostId first = attach("a");
  const HostId second = attach("b");
  for (int i = 0; i < 3; ++i) {
    advance(600'000);
    differ(liar, first, second);
  }
  EXPECT_EQ(standing(liar), Standing::kLimited);
  for (int i = 0; i < 3; ++i) {
    advance(600'000);
    differ(liar, first, second);
  }
  EXPECT_EQ(standing(liar), Standing::kBanned);
  advance(600'000);
  const ExchangeReply reply = ask(liar, 1);
  EXPECT_TRUE(reply.assignments.empty());
  EXPECT_NE(reply.no_work_reason.find("6 of its last 6 checked results were wrong"),
            std::string::npos)
      << reply.no_work_reason;
  restart();
  EXPECT_TRUE(ask(liar, 1).assignments.empty()) << "a restart forgives nobody";
  take(coordinator->forgive(liar, now)).value();
  EXPECT_EQ(standing(liar), Standing::kNew);
  EXPECT_EQ(ask(liar, 1).assignments.size(), 1u);
}

TEST_F(Checks, ABanTakesTheLeasesToo) {
  CoordinatorOptions few;
  few.banned_after = 1;
  start(few);
  job = submit(checked_job(4));
  const HostId liar = attach("liar");
  const std::vector<Assignment> work = ask(liar, 3).assignments;
  ASSERT_EQ(work.size(), 3u);
  report(liar, other_bits(work[0]));
  for (const char* name : {"a", "b"}) {
    const HostId host = attach(name);
    finish(host, get(host));
    answer_comparisons({1.5, 1});
  }
  EXPECT_EQ(standing(liar), Standing::kBanned);
  EXPECT_EQ(coordinator->host(liar)->lease_count, 0u);
  EXPECT_EQ(finish(liar, work[1]).verdict, Verdict::kNoted) << "given back";
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

TEST_F(Checks, AHostWithARecordIsCheckedNowAndThenAndItsCreditIsHeldUntilThen) {
  start();
  job = submit(checked_job());
  const HostId first = attach("a");
  const HostId second = attach("b");
  make_records(first, second);
  EXPECT_EQ(row(first).valid_in_row, 10u);
  int alone = 0;
  int checked = 0;
  double held_most = 0;
  for (int i = 0; i < 400; ++i) {
    if (finish(first, get(first)).verdict == Verdict::kValid) {
      ++alone;
    } else {
      ++checked;
      held_most = std::max(held_most, row(first).credit_held);
      EXPECT_EQ(finish(second, get(second)).verdict, Verdict::kValid);
      EXPECT_EQ(row(first).credit_held, 0) << "a check passed: granted";
    }
    complete_step();
  }
  EXPECT_GT(checked, 400 * 0.02);
  EXPECT_LT(checked, 400 * 0.12) << "about one in twenty";
  EXPECT_GT(held_most, 2);
  EXPECT_NEAR(row(first).credit + row(first).credit_held, 10 + 400, 1e-9);
}

TEST_F(Checks, AFailedCheckCostsWhatWasHeldBackAndTheRecord) {
  start();
  job = submit(checked_job());
  const HostId turncoat = attach("turncoat");
  const HostId first = attach("a");
  const HostId second = attach("b");
  make_records(turncoat, first);
  make_records(first, second);
  const double earned = row(turncoat).credit;
  for (int i = 0; i < 2'000 && standing(turncoat) == Standing::kRecord; ++i) {
    const Assignment work = get(turncoat);
    if (report(turncoat, other_bits(work)).verdict == Verdict::kPending) {
      report(first, success(get(first)));
      answer_comparisons({1.5, 1});
      report(second, success(get(second)));
      answer_comparisons({1.5, 1});
    }
    complete_step();
  }
  EXPECT_EQ(standing(turncoat), Standing::kProbation);
  EXPECT_EQ(row(turncoat).credit, earned) << "nothing of what it sent since the last check";
  EXPECT_EQ(row(turncoat).credit_held, 0);
  EXPECT_EQ(finish(turncoat, get(turncoat)).verdict, Verdict::kPending) << "all are checked again";
  const bool is_booked = std::any_of(store.credit.begin(), store.credit.end(), [](const auto& row) {
    return row.kind == CreditKind::kForfeited;
  });
  EXPECT_TRUE(is_booked);
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

TEST_F(Checks, CreditHeldWhenAJobEndsIsGrantedByTheNextCheckAnywhere) {
  start();
  JobSubmission submission = checked_job();
  submission.validation.check_share_min = 0;
  job = submit(submission);
  const HostId first = attach("a");
  const HostId second = attach("b");
  make_records(first, second);
  while (row(first).credit_held == 0) {
    if (finish(first, get(first)).verdict == Verdict::kPending) finish(second, get(second));
    complete_step();
  }
  take(coordinator->update_job(job, JobAction::kCancel, 0, now)).value();
  restart();
  EXPECT_GT(row(first).credit_held, 0);
  const double all = row(first).credit + row(first).credit_held;
  JobSubmission next = checked_job();
  next.validation.mode = ValidationMode::kAll;
  job = submit(next);
  finish(first, get(first));
  finish(second, get(second));
  EXPECT_EQ(row(first).credit_held, 0);
  EXPECT_NEAR(row(first).credit, all + 1, 1e-9);
}

TEST_F(Checks, OneAccountGetsHalfOfAStepWhileOthersMayTakeTheRest) {
  start();
  job = submit(checked_job(4));
  const HostId first = attach_of("a", {7, ""});
  const HostId second = attach_of("b", {7, ""});
  const HostId other = attach_of("c", {8, ""});
  EXPECT_EQ(ask(first, 4).assignments.size(), 2u);
  const ExchangeReply reply = ask(second, 2);
  EXPECT_TRUE(reply.assignments.empty());
  EXPECT_EQ(reply.retry_at, now + std::chrono::milliseconds(10'000));
  EXPECT_EQ(ask(other, 1).assignments.size(), 1u);
  advance(10'000);
  EXPECT_EQ(ask(second, 2).assignments.size(), 1u) << "nobody else took it";
}

TEST_F(Checks, ScreenedOutResultsCountAgainstAHostOnlyIfAnothersIsRight) {
  start();
  job = submit(checked_job());
  const HostId broken = attach("broken");
  const HostId trusted = attach("trusted", true);
  Report refused = success(get(broken));
  refused.screening = Screening::kRefused;
  refused.screening_reason = "value 3 is not finite";
  report(broken, refused);
  EXPECT_EQ(standing(broken), Standing::kNew) << "it may be the job";
  finish(trusted, get(trusted));
  EXPECT_EQ(standing(broken), Standing::kProbation);
}

TEST_F(Checks, StrangersAloneCannotFailAJob) {
  start();
  job = submit(checked_job());
  for (int i = 0; i < 6; ++i) {
    const HostId stranger = attach("stranger");
    Report refused = success(get(stranger));
    refused.screening = Screening::kRefused;
    refused.screening_reason = "value 3 is not finite";
    report(stranger, refused);
  }
  EXPECT_EQ(view(job).row.state, JobState::kRunning);
}

TEST_F(Checks, PairsOfReliableHostsTeachTheTolerance) {
  start();
  job = submit(checked_job());
  const HostId first = attach_of("a", {}, "A");
  const HostId second = attach_of("b", {}, "B");
  take(coordinator->set_trust(second, true, now)).value();
  for (int i = 0; i < 60; ++i) {
    if (report(first, other_bits(get(first), "first")).verdict == Verdict::kPending) {
      report(second, other_bits(get(second), "second"));
      answer_comparisons({1e-6, 1e-12});
    }
    complete_step();
  }
  const std::vector<AgreementView> views = coordinator->agreements(job);
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].row.first_class, "cpu/A");
  EXPECT_GT(views[0].row.pair_count, 0u);
  restart();
  EXPECT_EQ(coordinator->agreements(job).at(0).row, views[0].row);
}

}  // namespace
}  // namespace mh::scheduler
