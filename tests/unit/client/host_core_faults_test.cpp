// The host core when things fail, restart, pause and stop. See client/daemon/host_core.h.
#include <set>

#include "host_core_fixture.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// --- The server is away. ---

TEST_F(HostCoreTest, SaysOnceThatTheServerIsAwayAndOnceThatItIsBack) {
  start_working();
  fail_call(Channel::kPoll);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(wake());
    ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
    fail_call(Channel::kPoll);
  }
  EXPECT_EQ(log_count("server not reachable (connection refused); retrying"), 1u);
  EXPECT_FALSE(core_.status().server_reachable);
  ASSERT_TRUE(wake());
  reply(Channel::kPoll);
  EXPECT_EQ(log_count("server is back"), 1u);
  EXPECT_TRUE(core_.status().server_reachable);
}

TEST_F(HostCoreTest, SaysAgainWhenTheReasonIsAnother) {
  start_working();
  fail_call(Channel::kPoll);
  ASSERT_TRUE(wake());
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  note(core_.exchange_failed(now_, Channel::kPoll, fail(Errc::kUnavailable, "it has another key"),
                             milliseconds(0)));
  EXPECT_EQ(log_count("server not reachable (connection refused); retrying"), 1u);
  EXPECT_EQ(log_count("server not reachable (it has another key); retrying"), 1u);
}

TEST_F(HostCoreTest, BackOffGrowsWithFullJitterUpToAMinute) {
  start_working();
  std::chrono::milliseconds longest{0};
  std::chrono::milliseconds first_four{0};
  for (int i = 0; i < 60; ++i) {
    const TimePoint before = now_;
    fail_call(Channel::kPoll);
    if (calls(Channel::kPoll).empty()) {
      ASSERT_TRUE(wake());
    }
    longest = std::max(longest, now_ - before);
    if (i < 4) first_four += now_ - before;
  }
  EXPECT_LE(first_four, milliseconds(250 + 500 + 1000 + 2000));
  EXPECT_LE(longest, seconds(60));
  EXPECT_GT(longest, seconds(20));
}

// Found by manyhands-sim: the host asked again a day later.
TEST_F(HostCoreTest, AClockThatIsSetBackCostsNoTime) {
  start_working();
  fail_call(Channel::kPoll);
  now_ -= std::chrono::hours(24);
  fail_call(Channel::kReport);
  ASSERT_TRUE(core_.wake_at().has_value());
  EXPECT_LE(*core_.wake_at() - now_, seconds(60));
  ASSERT_TRUE(wake());
  EXPECT_EQ(calls(Channel::kPoll).size(), 1u);
}

TEST_F(HostCoreTest, StaysAwayAsLongAsABusyServerAsksAndSomeJitterMore) {
  start_working();
  std::set<std::int64_t> waits;
  for (int i = 0; i < 20; ++i) {
    fail_call(Channel::kPoll, Errc::kUnavailable, seconds(7));
    const TimePoint before = now_;
    while (calls(Channel::kPoll).empty()) {
      ASSERT_TRUE(wake());
    }
    EXPECT_GE(now_ - before, seconds(7));
    EXPECT_LE(now_ - before, seconds(67));
    waits.insert((now_ - before).count());
  }
  // Thousands that were sent away together do not come back together.
  EXPECT_GT(waits.size(), 15u);
}

TEST_F(HostCoreTest, DoesNotBelieveAnAbsurdRetryAfter) {
  start_working();
  fail_call(Channel::kPoll, Errc::kUnavailable, std::chrono::hours(1'000));
  const TimePoint before = now_;
  while (calls(Channel::kPoll).empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_LE(now_ - before, std::chrono::minutes(11));
}

TEST_F(HostCoreTest, ComputesOnAndDeliversWhenTheServerIsBack) {
  start_computing();
  fail_call(Channel::kPoll);
  computed(1);
  EXPECT_EQ(count<KeepRecord>(), 1u);
  EXPECT_TRUE(last<StartUpload>().empty()) << "not before the server has answered";
  while (calls(Channel::kPoll).empty()) {
    ASSERT_TRUE(wake());
  }
  reply(Channel::kPoll);
  EXPECT_EQ(log_count("server is back"), 1u);
  ASSERT_EQ(last<StartUpload>().size(), 1u);
  note(core_.upload_failed(now_, ResultId(1), fail(Errc::kUnavailable, "connection refused")));
  EXPECT_EQ(log_count("server not reachable"), 1u);
  while (last<StartUpload>().empty()) {
    ASSERT_TRUE(wake());
  }
  uploaded(1);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  verdict(1);
  EXPECT_EQ(core_.status().valid_count, 1u);
}

TEST_F(HostCoreTest, AReportThatWasCutIsSentAgain) {
  start_computing();
  computed(1);
  uploaded(1);
  fail_call(Channel::kReport);
  while (calls(Channel::kReport).empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_EQ(calls(Channel::kReport)[0].reports.at(0).result, ResultId(1));
  verdict(1);
  EXPECT_EQ(core_.status().valid_count, 1u);
}

TEST_F(HostCoreTest, ARefusalIsToldAndAskedAgainSeldom) {
  start_working();
  fail_call(Channel::kPoll, Errc::kUnauthenticated);
  EXPECT_EQ(log_count("the server refuses this host"), 1u);
  const TimePoint before = now_;
  while (calls(Channel::kPoll).empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_GE(now_ - before, std::chrono::minutes(5));
  EXPECT_NE(core_.status().sentence.find("refuses"), std::string::npos);
}

TEST_F(HostCoreTest, WaitsAsLongAsTheServerSaysAndALittleJitter) {
  start_working();
  ExchangeReply answer;
  answer.backoff = seconds(10);
  answer.no_work_reason = "no job is running";
  reply(Channel::kPoll, answer);
  EXPECT_EQ(core_.status().sentence, "waiting for work: no job is running");
  const TimePoint before = now_;
  ASSERT_TRUE(wake());
  EXPECT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_GE(now_ - before, seconds(10));
  EXPECT_LE(now_ - before, seconds(12));
}

TEST_F(HostCoreTest, AServerThatAnswersNothingAtOnceIsNotHammered) {
  start_working();
  const TimePoint before = now_;
  for (int i = 0; i < 20; ++i) {
    reply(Channel::kPoll);
    if (calls(Channel::kPoll).empty()) {
      ASSERT_TRUE(wake());
    }
  }
  EXPECT_GE(now_ - before, milliseconds(50) * 20);
}

// --- Downloads that fail. ---

TEST_F(HostCoreTest, ReturnsWorkWhoseParametersAreGone) {
  start_working();
  assign({gradient(1)});
  note(core_.download_failed(now_, digest_of("parameters 0"),
                             fail(Errc::kNotFound, "no such blob")));
  const auto reports = calls(Channel::kReport);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].reports[0].outcome, Outcome::kReturned);
  EXPECT_NE(reports[0].reports[0].error.find("cannot be had: no such blob"), std::string::npos);
}

TEST_F(HostCoreTest, ADamagedBlobIsFetchedAgain) {
  start_working();
  assign({gradient(1)});
  note(core_.download_failed(now_, digest_of("job"), fail(Errc::kDataLoss, "digest differs")));
  EXPECT_TRUE(last<StartDownload>().empty());
  ASSERT_TRUE(wake());
  ASSERT_EQ(last<StartDownload>().size(), 1u);
  EXPECT_EQ(last<StartDownload>()[0].digest, digest_of("job"));
  for (int i = 0; i < 4; ++i) {
    note(core_.download_failed(now_, digest_of("job"), fail(Errc::kDataLoss, "digest differs")));
    if (i < 3)
      while (last<StartDownload>().empty()) {
        ASSERT_TRUE(wake());
      }
  }
  ASSERT_EQ(calls(Channel::kReport).size(), 1u) << "given up after five times";
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned);
}

TEST_F(HostCoreTest, AFullDiskReturnsTheWorkAndAsksForNoMoreForAWhile) {
  start_working();
  assign({gradient(1)});
  note(core_.download_failed(now_, digest_of("manifest"),
                             fail(Errc::kResourceExhausted, "disk full")));
  EXPECT_EQ(calls(Channel::kReport).size(), 1u);
  verdict(1, VerdictKind::kNoted);
  reply(Channel::kPoll);
  EXPECT_TRUE(calls(Channel::kPoll).empty());
  const TimePoint before = now_;
  while (calls(Channel::kPoll).empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_EQ(now_ - before, seconds(30));
}

TEST_F(HostCoreTest, InputsThatVanishedAreFetchedAgainWithoutBlame) {
  start_computing();
  note(core_.inputs_lost(now_, ResultId(1), {digest_of("manifest"), digest_of("chunk 0")}));
  EXPECT_EQ(last<StartDownload>().size(), 2u);
  EXPECT_TRUE(last<SendCompute>().empty());
  EXPECT_EQ(log_count("is gone from the cache"), 2u);
  finish_downloads();
  EXPECT_EQ(count<SendCompute>(), 2u);
  EXPECT_EQ(core_.status().failed_count, 0u);
}

TEST_F(HostCoreTest, NeedsItsInputsUntilComputed) {
  start_computing();
  EXPECT_TRUE(core_.is_needed(digest_of("parameters 0")));
  EXPECT_TRUE(core_.is_needed(digest_of("chunk 1")));
  EXPECT_FALSE(core_.is_needed(digest_of("chunk 2")));
  computed(1);
  EXPECT_FALSE(core_.is_needed(digest_of("chunk 1")));
}

// --- The trainer. ---

TEST_F(HostCoreTest, ATrainerThatEndsIsStartedAgainAndGetsTheWorkAgain) {
  start_computing();
  trainer_ended();
  EXPECT_TRUE(last<StartTrainer>().empty()) << "after a while, not at once";
  while (last<StartTrainer>().empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_TRUE(last<SendCompute>().empty());
  trainer_ready();
  ASSERT_EQ(last<SendCompute>().size(), 1u);
  computed(1);
  EXPECT_EQ(last<StartUpload>().size(), 1u);
}

TEST_F(HostCoreTest, PinnedWorkGetsATrainerOfItsOwnOnceTheOtherWorkIsDone) {
  start_working();
  Assignment pinned = gradient(2);
  pinned.is_pinned = true;
  assign({gradient(1), pinned});
  finish_downloads();
  ASSERT_EQ(last<SendCompute>().size(), 1u) << "not to a trainer that takes other paths";
  EXPECT_EQ(last<SendCompute>()[0].assignment.result, ResultId(1));
  computed(1);
  EXPECT_EQ(last<StopTrainer>().size(), 1u);
  ASSERT_EQ(last<StartTrainer>().size(), 1u);
  EXPECT_TRUE(last<StartTrainer>()[0].is_pinned);
  trainer_ready();
  ASSERT_EQ(last<SendCompute>().size(), 1u);
  EXPECT_EQ(last<SendCompute>()[0].assignment.result, ResultId(2));
  // One that ends is followed by one of the same kind.
  trainer_ended();
  while (last<StartTrainer>().empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_TRUE(last<StartTrainer>()[0].is_pinned);
}

TEST_F(HostCoreTest, AWorkunitThatEndsTheTrainerTwiceFails) {
  start_working();
  assign({gradient(1), gradient(2)});
  finish_downloads();
  trainer_ended();
  while (last<StartTrainer>().empty()) {
    ASSERT_TRUE(wake());
  }
  trainer_ready();
  EXPECT_EQ(last<SendCompute>().size(), 2u);
  trainer_ended();
  const auto reports = calls(Channel::kReport);
  ASSERT_EQ(reports.size(), 1u);
  ASSERT_EQ(reports[0].reports.size(), 1u) << "the one in the queue is not to blame";
  EXPECT_EQ(reports[0].reports[0].result, ResultId(1));
  EXPECT_EQ(reports[0].reports[0].outcome, Outcome::kFailed);
}

TEST_F(HostCoreTest, ATrainerThatCannotStartGivesTheWorkBackAndAsksForNone) {
  start_computing();
  for (int i = 0; i < 3; ++i) {
    trainer_ended();
    if (i < 2)
      while (last<StartTrainer>().empty()) {
        ASSERT_TRUE(wake());
      }
  }
  const auto exchanges = of<StartExchange>(all_);
  const auto report = std::find_if(exchanges.begin(), exchanges.end(),
                                   [](const auto& one) { return one.channel == Channel::kReport; });
  ASSERT_NE(report, exchanges.end());
  EXPECT_EQ(report->call.reports[0].outcome, Outcome::kReturned);
  reply(Channel::kPoll);
  EXPECT_TRUE(calls(Channel::kPoll).empty());
  EXPECT_NE(core_.status().sentence.find("the trainer ended (signal 9"), std::string::npos);
}

TEST_F(HostCoreTest, AFailedComputationIsReportedWithItsError) {
  start_computing();
  note(core_.trainer_failed(now_, ResultId(1), "out of memory"));
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kFailed);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].error, "out of memory");
  EXPECT_TRUE(last<SendCancel>().empty()) << "the trainer no longer has it";
}

TEST_F(HostCoreTest, TellsTheServerItsDeviceWhenTheTrainerKnowsIt) {
  start();
  reply(Channel::kPoll);
  trainer_ready();
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_TRUE(calls(Channel::kPoll)[0].with_description);
  reply(Channel::kPoll);
  ASSERT_TRUE(wake());
  EXPECT_FALSE(calls(Channel::kPoll)[0].with_description) << "only when it changed";
}

// --- Restart after kill -9. ---

TEST_F(HostCoreTest, DeliversWhatAnEarlierRunFinished) {
  Report report;
  report.result = ResultId(9);
  report.outcome = Outcome::kSuccess;
  report.update_bytes = 1024;
  report.update_digest = digest_of("update 9");
  start({report});
  EXPECT_TRUE(last<StartUpload>().empty()) << "is it still wanted?";
  reply(Channel::kPoll);
  ASSERT_EQ(last<StartUpload>().size(), 1u);
  EXPECT_EQ(last<StartUpload>()[0].digest, digest_of("update 9"));
  uploaded(9);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].update_digest, digest_of("update 9"));
  verdict(9);
  EXPECT_EQ(core_.status().valid_count, 1u);
}

TEST_F(HostCoreTest, LeasesOfAnEarlierRunAreTakenUpBeforeTheTrainerIsReady) {
  start();
  assign({gradient(5)});
  EXPECT_EQ(last<StartDownload>().size(), 3u);
  finish_downloads();
  EXPECT_EQ(count<SendCompute>(), 0u);
  trainer_ready();
  EXPECT_EQ(last<SendCompute>().size(), 1u);
}

// --- Pause, finish, stop. ---

TEST_F(HostCoreTest, PauseStopsComputingAndGivesTheWorkBack) {
  start_computing();
  note(core_.pause(now_));
  EXPECT_EQ(last<StopTrainer>().size(), 1u);
  EXPECT_EQ(last<CancelExchange>().size(), 1u);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned);
  fail_call(Channel::kPoll, Errc::kCanceled);
  EXPECT_EQ(log_count("not reachable"), 0u) << "its own doing is not the server's";
  verdict(1, VerdictKind::kNoted);
  reply(Channel::kPoll);
  EXPECT_TRUE(calls(Channel::kPoll).empty());
  EXPECT_FALSE(wake()) << "a paused client does nothing at all";
  note(core_.resume(now_));
  EXPECT_EQ(last<StartTrainer>().size(), 1u);
  trainer_ready();
  EXPECT_EQ(calls(Channel::kPoll).at(0).wanted, 2u);
}

TEST_F(HostCoreTest, PausedResultsAreStillDelivered) {
  start_computing();
  computed(1);
  note(core_.pause(now_));
  uploaded(1);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kSuccess);
}

TEST_F(HostCoreTest, WorkThatArrivesInAPauseGoesBack) {
  start_working();
  note(core_.pause(now_));
  fail_call(Channel::kPoll, Errc::kCanceled);
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u) << "did the cancelled call bring a lease?";
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 0u);
  assign({gradient(1)});
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned);
}

TEST_F(HostCoreTest, StartsPausedIfItWasPaused) {
  start({}, true);
  EXPECT_TRUE(last<StartTrainer>().empty());
  EXPECT_EQ(core_.status().activity, "paused");
}

TEST_F(HostCoreTest, FinishCompletesWhatItHasThenExits) {
  start_computing();
  note(core_.finish(now_));
  EXPECT_EQ(count<StopTrainer>(), 0u);
  fail_call(Channel::kPoll, Errc::kCanceled);
  reply(Channel::kPoll);
  computed(1);
  uploaded(1);
  EXPECT_EQ(count<Exit>(), 0u);
  verdict(1);
  EXPECT_EQ(count<Exit>(), 1u);
  EXPECT_EQ(core_.status().valid_count, 1u);
}

TEST_F(HostCoreTest, FinishWithNothingToDoExitsSoon) {
  start_working();
  note(core_.finish(now_));
  fail_call(Channel::kPoll, Errc::kCanceled);
  reply(Channel::kPoll);
  EXPECT_EQ(last<Exit>().size(), 1u);
}

TEST_F(HostCoreTest, StopReturnsLeasesThenExits) {
  start_computing();
  note(core_.stop(now_));
  EXPECT_EQ(last<StopTrainer>().size(), 1u);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned);
  EXPECT_EQ(count<Exit>(), 0u);
  verdict(1, VerdictKind::kNoted);
  EXPECT_EQ(count<Exit>(), 1u);
}

TEST_F(HostCoreTest, StopWaitsThreeSecondsForTheServerNotLonger) {
  start_computing();
  note(core_.stop(now_));
  const TimePoint before = now_;
  ASSERT_TRUE(wake());
  EXPECT_EQ(now_ - before, seconds(3));
  EXPECT_EQ(last<Exit>().size(), 1u);
}

TEST_F(HostCoreTest, StopKeepsTheRecordOfAnUndeliveredResult) {
  start_computing();
  computed(1);
  note(core_.stop(now_));
  pass(seconds(3));
  EXPECT_EQ(last<Exit>().size(), 1u);
  EXPECT_EQ(count<DropRecord>(), 0u) << "the next run delivers it";
}

TEST_F(HostCoreTest, StopDoesNotWaitForAServerThatIsAway) {
  start_computing();
  fail_call(Channel::kPoll);
  note(core_.stop(now_));
  EXPECT_EQ(last<Exit>().size(), 1u);
}

TEST_F(HostCoreTest, AStoppedCoreIgnoresWhatComesLate) {
  start_working();
  note(core_.stop(now_));
  EXPECT_EQ(count<Exit>(), 1u);
  fail_call(Channel::kPoll, Errc::kCanceled);
  assign({gradient(1)});
  trainer_ended();
  EXPECT_EQ(count<Exit>(), 1u);
  EXPECT_EQ(count<SendCompute>(), 0u);
}

}  // namespace
}  // namespace mh::client
