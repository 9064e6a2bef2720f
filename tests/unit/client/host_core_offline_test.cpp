// A client that is without its server for long: it keeps what it finished, asks seldom, and
// delivers when the server is back. Rules 5 and 8 of client/daemon/host_core.h, in virtual time.
#include <optional>
#include <utility>

#include "host_core_fixture.h"

namespace mh::client {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

class HostCoreOfflineTest : public HostCoreTest {
 protected:
  static Report finished(std::uint64_t result, TimePoint when, std::uint64_t bytes = 1024) {
    Report report;
    report.result = ResultId(result);
    report.outcome = Outcome::kSuccess;
    report.update_bytes = bytes;
    report.update_digest = digest_of("update " + std::to_string(result));
    report.finished = when;
    return report;
  }
  // The next action that nobody has looked at yet; lets time pass until there is one.
  std::optional<Action> next_action(TimePoint until) {
    while (next_ == all_.size() && now_ < until) {
      const auto at = core_.wake_at();
      if (at && *at < until) {
        wake();
      } else {
        pass(until - now_);
      }
    }
    if (next_ == all_.size()) return std::nullopt;
    return all_[next_++];
  }
  // Every call fails until then; returns how many there were.
  std::size_t stay_offline(TimePoint until) {
    std::size_t calls_made = 0;
    while (const auto action = next_action(until)) {
      EXPECT_FALSE(std::holds_alternative<StartUpload>(*action)) << "the server has not answered";
      if (const auto* start = std::get_if<StartExchange>(&*action)) {
        ++calls_made;
        fail_call(start->channel);
      }
    }
    return calls_made;
  }
  // The server is back: answers the call that asks.
  void answer_the_call(ExchangeReply answer = {}) {
    while (const auto action = next_action(now_ + hours(1))) {
      const auto* start = std::get_if<StartExchange>(&*action);
      if (start == nullptr) continue;
      EXPECT_EQ(start->call.wait.count(), 0) << "an answer is wanted at once";
      return reply(start->channel, std::move(answer));
    }
    ADD_FAILURE() << "it does not ask";
  }
  // Fails every upload for a day; the server answers calls.
  std::size_t refuse_uploads(const std::vector<Errc>& errors, TimePoint until) {
    std::size_t tries = 0;
    while (const auto action = next_action(until)) {
      if (const auto* upload = std::get_if<StartUpload>(&*action)) {
        const Errc code = errors[tries++ % errors.size()];
        note(core_.upload_failed(now_, upload->result, fail(code, "no")));
      }
      const auto* start = std::get_if<StartExchange>(&*action);
      if (start != nullptr && start->call.wanted == 0) reply(start->channel);
    }
    return tries;
  }
  // A core with options of its own.
  void start_with(const HostCoreOptions& options, std::vector<Report> recovered) {
    HostCore core(options);
    all_ = core.start(now_, std::move(recovered), false);
    status_ = core.status();
  }
  HostStatus status_;
  std::size_t next_ = 0;
};

TEST_F(HostCoreOfflineTest, ADayWithoutTheServerLosesNothingAndHammersNobody) {
  start_computing();
  next_ = all_.size();
  fail_call(Channel::kPoll);
  computed(1);
  const std::size_t calls_made = stay_offline(now_ + hours(24));
  // Full jitter below a minute is half a minute on average.
  EXPECT_GT(calls_made, 2'600u);
  EXPECT_LT(calls_made, 3'200u);
  EXPECT_EQ(count<StartUpload>(), 0u);
  EXPECT_EQ(count<DropRecord>(), 0u);
  EXPECT_EQ(log_count("server not reachable"), 1u);
  EXPECT_EQ(core_.status().undelivered_count, 1u);
  answer_the_call();
  ASSERT_EQ(last<StartUpload>().size(), 1u);
  uploaded(1);
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].result, ResultId(1));
  verdict(1);
  EXPECT_EQ(core_.status().valid_count, 1u);
  EXPECT_EQ(count<DropRecord>(), 1u);
  EXPECT_EQ(core_.status().undelivered_count, 0u);
}

TEST_F(HostCoreOfflineTest, AResultThatIsNoLongerWantedIsDeletedWithoutBeingSent) {
  start_computing();
  next_ = all_.size();
  fail_call(Channel::kPoll);
  computed(1);
  stay_offline(now_ + hours(24));
  ExchangeReply answer;
  answer.revoked = {ResultId(1)};
  answer_the_call(answer);
  EXPECT_EQ(count<StartUpload>(), 0u);
  EXPECT_EQ(count<DropRecord>(), 1u);
  EXPECT_TRUE(core_.status().work.empty());
}

TEST_F(HostCoreOfflineTest, AResultThatIsTooLateIsDeleted) {
  start({finished(9, now_ - hours(24))});
  answer_the_call();
  uploaded(9);
  verdict(9, VerdictKind::kTooLate, "another host was first");
  EXPECT_EQ(count<DropRecord>(), 1u);
  EXPECT_EQ(log_count("came too late"), 1u);
}

TEST_F(HostCoreOfflineTest, NoNumberOfRefusedUploadsGivesAResultUp) {
  start_computing();
  next_ = all_.size();
  computed(1);
  // A captive portal, a proxy, a full disk, a quota: whatever answers.
  const std::size_t tries = refuse_uploads(
      {Errc::kUnknown, Errc::kNotFound, Errc::kResourceExhausted, Errc::kInvalidArgument,
       Errc::kPermissionDenied, Errc::kInternal, Errc::kUnavailable},
      now_ + hours(24));
  // Two and a half minutes on average, once the waits have grown.
  EXPECT_GT(tries, 500u);
  EXPECT_LT(tries, 700u);
  EXPECT_EQ(count<DropRecord>(), 0u);
  EXPECT_EQ(log_count("cannot be uploaded yet"), 1u);
}

TEST_F(HostCoreOfflineTest, AnUpdateThatIsDamagedOnTheDiskIsGivenBackAfterAFewTries) {
  start_computing();
  computed(1);
  for (int i = 0; i < 5; ++i) {
    while (last<StartUpload>().empty()) {
      ASSERT_TRUE(wake());
    }
    note(core_.upload_failed(now_, ResultId(1), fail(Errc::kDataLoss, "another SHA-256")));
  }
  ASSERT_EQ(calls(Channel::kReport).size(), 1u);
  EXPECT_EQ(calls(Channel::kReport)[0].reports[0].outcome, Outcome::kReturned) << "no blame";
}

TEST_F(HostCoreOfflineTest, ResultsThatPiledUpAreSentTwoAtATime) {
  std::vector<Report> recovered;
  for (std::uint64_t id = 1; id <= 40; ++id) recovered.push_back(finished(id, now_ - hours(1)));
  start(recovered);
  stay_offline(now_ + hours(1));
  answer_the_call();
  std::set<ResultId> sent;
  for (std::uint64_t id = 1; id <= 40; ++id) {
    for (const StartUpload& upload : of<StartUpload>(all_)) sent.insert(upload.result);
    EXPECT_EQ(sent.size(), std::min<std::uint64_t>(id + 1, 40));
    uploaded(id);
  }
  EXPECT_EQ(core_.status().undelivered_count, 40u);
}

TEST_F(HostCoreOfflineTest, OnlyItsAgeEndsAResultThatNobodyTakes) {
  start({finished(1, now_ - hours(7 * 24 - 1)), finished(2, now_)});
  const TimePoint end = now_ + hours(1);
  stay_offline(end - milliseconds(1));
  EXPECT_EQ(core_.status().undelivered_count, 2u);
  stay_offline(end + minutes(2));
  EXPECT_EQ(core_.status().undelivered_count, 1u);
  EXPECT_EQ(log_count("result 1 could not be delivered in time"), 1u);
  EXPECT_EQ(core_.status().work.at(0).result, ResultId(2));
}

TEST_F(HostCoreOfflineTest, ARecordFromTheFutureIsNeitherKeptForEverNorDroppedAtOnce) {
  start({finished(1, now_ + hours(24 * 365 * 50))});
  stay_offline(now_ + hours(6 * 24));
  EXPECT_EQ(core_.status().undelivered_count, 1u);
  stay_offline(now_ + hours(24) + minutes(2));
  EXPECT_EQ(core_.status().undelivered_count, 0u);
}

TEST_F(HostCoreOfflineTest, BeyondItsLimitsTheOldestOfAnEarlierRunAreDropped) {
  HostCoreOptions options = test_options();
  options.undelivered_count_max = 3;
  options.undelivered_bytes_max = 2'500;
  start_with(options, {finished(1, now_ - seconds(1)), finished(2, now_ - seconds(9)),
                       finished(3, now_ - seconds(5)), finished(4, now_ - seconds(3))});
  EXPECT_EQ(status_.undelivered_count, 2u);
  EXPECT_EQ(status_.undelivered_bytes, 2'048u);
  const auto dropped = of<DropRecord>(all_);
  ASSERT_EQ(dropped.size(), 2u);
  EXPECT_EQ(dropped[0].result, ResultId(2));
  EXPECT_EQ(dropped[1].result, ResultId(3));
}

TEST_F(HostCoreOfflineTest, AsksForNoNewWorkWhileTooMuchWaitsToBeDelivered) {
  std::vector<Report> recovered;
  for (std::uint64_t id = 1; id <= 64; ++id) recovered.push_back(finished(id, now_));
  start(recovered);
  reply(Channel::kPoll);
  trainer_ready();
  for (const ExchangeCall& call : calls(Channel::kPoll)) EXPECT_EQ(call.wanted, 0u);
  EXPECT_NE(core_.status().sentence.find("64 finished results"), std::string::npos);
  uploaded(1);
  verdict(1);
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_EQ(calls(Channel::kPoll)[0].wanted, 2u);
}

TEST_F(HostCoreOfflineTest, OneCallAtATimeAsksWhetherTheServerIsBack) {
  start_working();
  assign({gradient(1), gradient(2)});
  finish_downloads();
  computed(1);
  uploaded(1);
  fail_call(Channel::kReport);
  computed(2);
  // The parked poll breaks, too.
  fail_call(Channel::kPoll);
  for (int i = 0; i < 100; ++i) {
    while (last<StartExchange>().empty()) {
      ASSERT_TRUE(wake());
    }
    ASSERT_EQ(last<StartExchange>().size(), 1u);
    fail_call(last<StartExchange>()[0].channel);
  }
  EXPECT_EQ(count<StartUpload>(), 1u) << "of the first result, before the server went away";
}

TEST_F(HostCoreOfflineTest, TheDescriptionOfAFailedCallIsSentAgain) {
  start();
  ASSERT_EQ(calls(Channel::kPoll).size(), 1u);
  EXPECT_TRUE(calls(Channel::kPoll)[0].with_description);
  fail_call(Channel::kPoll);
  while (calls(Channel::kPoll).empty()) {
    ASSERT_TRUE(wake());
  }
  EXPECT_TRUE(calls(Channel::kPoll)[0].with_description);
}

}  // namespace
}  // namespace mh::client
