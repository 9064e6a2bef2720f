// What checks make of hosts: standing, credit, shares (rules 23 to 25).
#include <algorithm>

#include "tests/unit/scheduler/coordinator_checks_fixture.h"

namespace mh::scheduler {
namespace {

class Standings : public Checks {};

TEST_F(Standings, WhoDiffersTooOftenIsLimitedThenBannedUntilForgiven) {
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

TEST_F(Standings, ABanTakesTheLeasesToo) {
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

// Accomplices who confirm each other are granted nothing where somebody could know better.
TEST_F(Standings, WhereATrustedHostIsAtWorkOnlyItsWordGrantsCredit) {
  start();
  job = submit(checked_job());
  const HostId trusted = attach("ada", true);
  const HostId recorded = attach("a");
  const HostId other = attach("b");
  while (standing(recorded) != Standing::kRecord) agree(recorded, trusted);
  EXPECT_EQ(row(recorded).credit, 10);
  EXPECT_EQ(finish(other, get(other)).verdict, Verdict::kPending);
  EXPECT_EQ(finish(recorded, get(recorded)).verdict, Verdict::kValid);
  complete_step();
  EXPECT_EQ(row(recorded).credit, 10);
  EXPECT_EQ(row(recorded).credit_held, 1);
  EXPECT_EQ(row(other).credit, 0);
  EXPECT_EQ(row(other).credit_held, 1);
  agree(other, trusted);
  EXPECT_EQ(row(other).credit, 2);
  EXPECT_EQ(row(other).credit_held, 0);
  // Where none is at work strangers must do.
  advance(3'600'000);
  agree(other, recorded);
  EXPECT_EQ(row(other).credit, 3);
  EXPECT_EQ(row(recorded).credit, 12);
  EXPECT_EQ(row(recorded).credit_held, 0);
}

TEST_F(Standings, AHostWithARecordIsCheckedNowAndThenAndItsCreditIsHeldUntilThen) {
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

TEST_F(Standings, AFailedCheckCostsWhatWasHeldBackAndTheRecord) {
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

TEST_F(Standings, CreditHeldWhenAJobEndsIsGrantedByTheNextCheckAnywhere) {
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

TEST_F(Standings, OneAccountGetsHalfOfAStepWhileOthersMayTakeTheRest) {
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

TEST_F(Standings, ScreenedOutResultsCountAgainstAHostOnlyIfAnothersIsRight) {
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

TEST_F(Standings, StrangersAloneCannotFailAJob) {
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

TEST_F(Standings, PairsOfReliableHostsTeachTheTolerance) {
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
