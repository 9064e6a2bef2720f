// The host core, scenario by scenario. See client/daemon/host_core.h for the rules.
#include "host_core_fixture.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// --- The way of one workunit. ---

TEST_F(HostCoreTest, AsksForNoWorkBeforeTheTrainerIsReady) {
  start();
  ASSERT_EQ(last<StartTrainer>().size(), 1u);
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 0u);
  EXPECT_TRUE(calls(Channel::kPoll)[0].with_description);
  reply(Channel::kPoll);
  EXPECT_TRUE(calls(Channel::kPoll).empty());
  trainer_ready();
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 2u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wait, seconds(25));
}

TEST_F(HostCoreTest, DownloadsInputsThenComputes) {
  start_working();
  assign({gradient(1)});
  const auto downloads = last<StartDownload>();
  ASSERT_EQ(downloads.size(), 3u);
  EXPECT_EQ(downloads[0].kind, BlobKind::kParameters);
  EXPECT_TRUE(last<SendCompute>().empty());
  finish_downloads();
  ASSERT_EQ(count<SendCompute>(), 1u);
  EXPECT_EQ(of<SendCompute>(all_)[0].assignment.result, ResultId(1));
  EXPECT_EQ(of<SendCompute>(all_)[0].inputs.size(), 5u) << "three documents and two chunks";
}

TEST_F(HostCoreTest, AWorkunitThatNamesItsChunksFetchesNoOthers) {
  start_working();
  Assignment assignment = gradient(1);
  assignment.chunk_indices = {1};
  assign({assignment});
  finish_downloads();
  const auto downloads = of<StartDownload>(all_);
  EXPECT_EQ(std::count_if(downloads.begin(), downloads.end(),
                          [](const auto& one) { return one.kind == BlobKind::kChunk; }),
            1);
  EXPECT_EQ(downloads.back().digest, digest_of("chunk 1"));
}

TEST_F(HostCoreTest, RecordsBeforeUploadingAndReportsAtOnce) {
  start_computing();
  computed(1);
  ASSERT_EQ(last<KeepRecord>().size(), 1u);
  ASSERT_EQ(last<StartUpload>().size(), 1u);
  EXPECT_EQ(last<StartUpload>()[0].digest, digest_of("update 1"));
  EXPECT_LT(std::find_if(last_.begin(), last_.end(),
                         [](const Action& a) { return std::holds_alternative<KeepRecord>(a); }),
            std::find_if(last_.begin(), last_.end(),
                         [](const Action& a) { return std::holds_alternative<StartUpload>(a); }));
  uploaded(1);
  const auto reports = calls(Channel::kReport);
  ASSERT_EQ(reports.size(), 1u) << "the report does not wait for the parked poll";
  ASSERT_EQ(reports[0].reports.size(), 1u);
  EXPECT_EQ(reports[0].reports[0].outcome, Outcome::kSuccess);
  EXPECT_EQ(reports[0].reports[0].update_bytes, 1024u);
  EXPECT_EQ(reports[0].wanted, 0u);
  EXPECT_EQ(reports[0].wait, milliseconds(0));
  EXPECT_EQ(count<DropRecord>(), 0u);
  verdict(1);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
  EXPECT_EQ(core_.status().valid_count, 1u);
  EXPECT_DOUBLE_EQ(core_.status().credit, 1.5);
}

TEST_F(HostCoreTest, AnEvaluationIsReportedWithoutUpload) {
  start_working();
  Assignment evaluation = gradient(1);
  evaluation.kind = WorkKind::kEvaluation;
  evaluation.split = "test";
  assign({evaluation});
  finish_downloads();
  TrainerDone done;
  done.result = ResultId(1);
  done.loss_sum = 12;
  done.correct_count = 9;
  note(core_.trainer_done(now_, done));
  EXPECT_EQ(count<StartUpload>(), 0u);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].correct_count, 9u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].update_bytes, 0u);
}

TEST_F(HostCoreTest, FetchesTheNextInputsWhileComputing) {
  start_computing(1);
  const auto next_poll = of<StartExchange>(all_).back();
  EXPECT_EQ(next_poll.call.wanted, 1u);
  EXPECT_EQ(next_poll.call.held, std::vector<ResultId>{ResultId(1)});
  assign({gradient(2, 1)});
  ASSERT_EQ(last<StartDownload>().size(), 1u) << "only the parameters are new";
  finish_downloads();
  EXPECT_EQ(count<SendCompute>(), 2u) << "two wait in the trainer";
  EXPECT_TRUE(calls(Channel::kPoll).empty()) << "two are enough";
}

TEST_F(HostCoreTest, WorkunitsOfOneStepShareOneDownload) {
  start_working();
  assign({gradient(1), gradient(2)});
  EXPECT_EQ(last<StartDownload>().size(), 3u);
  finish_downloads();
  EXPECT_EQ(count<StartDownload>(), 5u);
  EXPECT_EQ(count<SendCompute>(), 2u);
  // Another one of the same step later.
  computed(1);
  uploaded(1);
  verdict(1);
  EXPECT_EQ(count<StartDownload>(), 5u);
}

TEST_F(HostCoreTest, DropsParametersOfOldSteps) {
  start_working();
  for (std::uint64_t step = 0; step < 6; ++step) {
    assign({gradient(step + 1, step)});
    finish_downloads();
    computed(step + 1);
    uploaded(step + 1);
    verdict(step + 1);
  }
  const auto dropped = of<DropBlob>(all_);
  ASSERT_EQ(dropped.size(), 2u) << "the last four are kept";
  EXPECT_EQ(dropped[0].digest, digest_of("parameters 0"));
  EXPECT_EQ(dropped[1].digest, digest_of("parameters 1"));
}

TEST_F(HostCoreTest, TellsWhichDataSetsItHolds) {
  start_computing();
  const auto polls = of<StartExchange>(all_);
  ASSERT_FALSE(polls.empty());
  computed(1);
  assign({gradient(2)});
  const auto calls_now = of<StartExchange>(all_);
  const auto& holdings = calls_now.back().call.holdings;
  ASSERT_EQ(holdings.size(), 1u);
  EXPECT_EQ(holdings[0].manifest, digest_of("manifest"));
  EXPECT_EQ(holdings[0].chunk_count, 2u);
}

// --- Leases and verdicts. ---

TEST_F(HostCoreTest, ALostLeaseStopsTheComputation) {
  start_computing();
  ExchangeReply answer;
  answer.revoked = {ResultId(1)};
  reply(Channel::kPoll, answer);
  ASSERT_EQ(last<SendCancel>().size(), 1u);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
  EXPECT_TRUE(core_.status().work.empty());
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u) << "asks for other work at once";
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 2u);
  // The trainer finished it all the same: its update is removed, nothing is uploaded.
  computed(1);
  EXPECT_EQ(count<StartUpload>(), 0u);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
}

TEST_F(HostCoreTest, AResultOnItsWayIsNotRevoked) {
  start_computing();
  computed(1);
  uploaded(1);
  ExchangeReply answer;
  answer.revoked = {ResultId(1)};
  reply(Channel::kPoll, answer);
  EXPECT_EQ(core_.status().work.size(), 1u) << "its verdict is still to come";
  EXPECT_TRUE(calls(Channel::kPoll).empty()) << "must not list it as held over and over";
  verdict(1);
  EXPECT_TRUE(core_.status().work.empty());
  EXPECT_EQ(calls(Channel::kPoll).size(), 1u);
}

TEST_F(HostCoreTest, AResultIdIsNeverTakenTwice) {
  start_computing();
  assign({gradient(1)});
  EXPECT_EQ(core_.status().work.size(), 1u);
  computed(1);
  uploaded(1);
  verdict(1);
  assign({gradient(1)});
  EXPECT_TRUE(core_.status().work.empty());
  EXPECT_EQ(count<SendCompute>(), 1u);
}

TEST_F(HostCoreTest, SaysWhyAResultWasRejected) {
  start_computing();
  computed(1);
  uploaded(1);
  verdict(1, VerdictKind::kRejected, "update holds 3 values that are not finite");
  EXPECT_EQ(log_count("result 1 was rejected: update holds 3 values that are not finite"), 1u);
  EXPECT_EQ(core_.status().rejected_count, 1u);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
}

TEST_F(HostCoreTest, TooLateAndUnknownResultsAreForgotten) {
  start_working();
  assign({gradient(1), gradient(2)});
  finish_downloads();
  computed(1);
  uploaded(1);
  verdict(1, VerdictKind::kTooLate);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
  computed(2);
  uploaded(2);
  verdict(2, VerdictKind::kUnknown);
  EXPECT_EQ(last<DropRecord>().size(), 1u);
  EXPECT_EQ(core_.status().valid_count, 0u);
  EXPECT_TRUE(core_.status().work.empty());
}

TEST_F(HostCoreTest, AReplyWithoutVerdictIsReportedAgainAFewTimes) {
  start_computing();
  computed(1);
  uploaded(1);
  for (int i = 0; i < 4; ++i) {
    reply(Channel::kReport);
    EXPECT_TRUE(calls(Channel::kReport).empty()) << "not at once";
    pass(kSecond);
    EXPECT_EQ(calls(Channel::kReport).size(), 1u);
  }
  reply(Channel::kReport);
  EXPECT_TRUE(core_.status().work.empty());
  EXPECT_EQ(log_count("without a verdict"), 1u);
}

TEST_F(HostCoreTest, RenewsLeasesWhileTwoAreHeld) {
  start_working();
  assign({gradient(1), gradient(2)});
  finish_downloads();
  ASSERT_TRUE(wake());
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 0u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wait, milliseconds(0));
  EXPECT_EQ(calls(Channel::kPoll)[0].held.size(), 2u);
  EXPECT_EQ(now_, TimePoint(milliseconds(1'000'000)) + seconds(20)) << "at a third of the lease";
}

TEST_F(HostCoreTest, AParkedPollComesBackInTimeToRenew) {
  start_working();
  Assignment assignment = gradient(1);
  assignment.lease = seconds(30);
  assign({assignment});
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wait, seconds(10));
}

TEST_F(HostCoreTest, AMalformedAssignmentFailsWithItsReason) {
  start_working();
  Assignment assignment = gradient(1);
  assignment.problem = "parameters_digest of the assignment has 5 bytes instead of 32";
  assign({assignment});
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kFailed);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].error, assignment.problem);
  EXPECT_EQ(count<StartDownload>(), 0u);
}

TEST_F(HostCoreTest, AnUnknownSplitOrChunkFails) {
  start_working();
  Assignment assignment = gradient(1);
  assignment.split = "val";
  assign({assignment});
  finish_downloads();
  const auto exchanges = of<StartExchange>(all_);
  EXPECT_EQ(exchanges.back().call.reports.at(0).error, "the data set has no split 'val'");
  verdict(1, VerdictKind::kNoted);
  assignment = gradient(2);
  assignment.chunk_indices = {2};
  assign({assignment});
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].error,
            "chunk 2 of split 'train' does not exist: it has 2");
}

TEST_F(HostCoreTest, AServerThatGivesMoreThanAskedIsHandedTheRestBack) {
  start_working();
  std::vector<Assignment> flood;
  for (std::uint64_t i = 1; i <= 100; ++i) flood.push_back(gradient(i));
  assign(flood);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports.size(), 36u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned);
}

}  // namespace
}  // namespace mh::client
