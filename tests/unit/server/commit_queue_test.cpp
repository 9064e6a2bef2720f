// Transitions wait for the updates that they count, or go together with the step that consumed
// them.
#include "server/commit_queue.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <string>

#include "tests/unit/server/faulty_disk.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {
namespace {

// Notes what is committed with what; commits at once.
class NotingStore final : public Store {
 public:
  void commit(Transaction transaction, std::function<void()> committed) override {
    std::string names;
    for (const auto& row : transaction.accounts) names += row.name;
    commits.push_back(names);
    committed();
  }
  Result<ServerSnapshot> load() override { return ServerSnapshot{}; }
  Result<std::vector<scheduler::StepRow>> steps(JobId, std::uint64_t, std::uint64_t) override {
    return std::vector<scheduler::StepRow>{};
  }
  Result<std::vector<scheduler::StepRecordRow>> records(JobId, std::uint64_t, std::uint64_t,
                                                        std::uint64_t) override {
    return std::vector<scheduler::StepRecordRow>{};
  }
  Result<std::vector<scheduler::EvaluationRow>> evaluations(JobId) override {
    return std::vector<scheduler::EvaluationRow>{};
  }
  Result<std::vector<scheduler::JobLogRow>> log(JobId, std::uint64_t) override {
    return std::vector<scheduler::JobLogRow>{};
  }
  Result<std::vector<scheduler::HostLogRow>> host_log(HostId, std::uint64_t) override {
    return std::vector<scheduler::HostLogRow>();
  }
  Result<std::string> yaml(JobId) override { return std::string(); }
  Result<std::vector<scheduler::ContributionRow>> contributions(JobId) override {
    return std::vector<scheduler::ContributionRow>{};
  }
  Result<std::vector<AuditRow>> audit(std::uint64_t) override { return std::vector<AuditRow>{}; }
  Result<scheduler::RewindPast> past(JobId, std::uint64_t) override {
    return scheduler::RewindPast{};
  }
  Result<SampleCoverage> coverage(JobId, std::uint64_t) override { return SampleCoverage{}; }

  std::vector<std::string> commits;
};

class CommitQueueTest : public testing::Test {
 protected:
  CommitQueueTest() : blobs(BlobStore::open(folder.path() / "blobs", disk).value()) {}

  // Long waits: the disk is asked only when a test wants it.
  void make_queue(std::chrono::milliseconds wait) {
    CommitQueueOptions options;
    options.wait_min = options.wait_max = wait;
    options.published_wait = std::chrono::minutes(5);
    options.retry_pause = std::chrono::milliseconds(1);
    queue.emplace(store, blobs, io.get_executor(), io.get_executor(), options);
  }

  Digest fresh(const std::string& content) {
    const auto file = folder.path() / "upload";
    std::ofstream(file) << content;
    const Digest digest = sha256(std::string_view(content));
    EXPECT_TRUE(blobs.adopt_fresh(file, digest).has_value());
    return digest;
  }

  void push(const std::string& name, std::vector<Digest> updates = {},
            std::vector<Digest> consumed = {}, std::vector<Digest> aggregating = {}) {
    QueuedTransition transition;
    AccountRow row;
    row.name = name;
    transition.transaction.accounts.push_back(row);
    transition.updates = std::move(updates);
    transition.consumed = std::move(consumed);
    transition.aggregating = std::move(aggregating);
    queue->push(std::move(transition), [this, name] { told += name; });
    run();
  }

  void run() {
    io.restart();
    io.poll();
  }

  // Until everything that was pushed has been told, at most 5 s.
  void run_out() {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (queue->in_flight() > 0 && std::chrono::steady_clock::now() < limit) {
      io.restart();
      io.run_for(std::chrono::milliseconds(1));
    }
  }
  void fail_one_fsync() {
    disk.sync_failures = 1;
    disk.sync_error = EIO;
  }

  TemporaryFolder folder;
  FaultyDisk disk;
  BlobStore blobs;
  NotingStore store;
  asio::io_context io{1};
  std::optional<CommitQueue> queue;
  std::string told;
};

using Commits = std::vector<std::string>;

TEST_F(CommitQueueTest, CommitsAtOnceWhatCountsNoUpdate) {
  make_queue(std::chrono::minutes(5));
  push("a");
  push("b");
  EXPECT_EQ(store.commits, (Commits{"a", "b"}));
  EXPECT_EQ(told, "ab");
  EXPECT_EQ(queue->in_flight(), 0u);
}

TEST_F(CommitQueueTest, CommitsAtOnceWhatCountsADurableUpdate) {
  make_queue(std::chrono::minutes(5));
  push("a", {blobs.put("safe").value()});
  EXPECT_EQ(told, "a");
}

TEST_F(CommitQueueTest, HoldsAReportAndWhatFollowsUntilTheUpdateIsSafe) {
  make_queue(std::chrono::milliseconds(1));
  const Digest update = fresh("update");
  push("a", {update});
  push("b");
  EXPECT_EQ(told, "");
  EXPECT_EQ(queue->in_flight(), 2u);
  io.restart();
  io.run();
  EXPECT_EQ(store.commits, (Commits{"a", "b"}));
  EXPECT_FALSE(blobs.is_fresh(update));
  EXPECT_TRUE(blobs.contains(update));
}

TEST_F(CommitQueueTest, CommitsAReportTogetherWithTheStepThatConsumedItsUpdate) {
  make_queue(std::chrono::minutes(5));
  const Digest one = fresh("one");
  const Digest two = fresh("two");
  push("a", {one});
  push("b");
  push("c", {two}, {}, {one, two});
  push("d");
  EXPECT_EQ(store.commits, Commits{});
  push("s", {}, {one, two});
  EXPECT_EQ(store.commits, (Commits{"abcds"})) << "one transaction, or a crash could tear them";
  EXPECT_EQ(told, "abcds");
  EXPECT_TRUE(blobs.is_fresh(one)) << "the disk was never asked";
}

TEST_F(CommitQueueTest, DoesNotCommitAStepBeforeAnotherJobsReportThatWaits) {
  make_queue(std::chrono::minutes(5));
  const Digest one = fresh("one");
  const Digest other = fresh("of another job");
  push("a", {one});
  push("b", {other});
  push("s", {}, {one});
  EXPECT_EQ(store.commits, Commits{});
  push("t", {}, {other});
  EXPECT_EQ(store.commits, (Commits{"abst"}));
}

TEST_F(CommitQueueTest, AFreshBlobSurvivesAKilledServerAndADamagedOneDoesNot) {
  const Digest good = fresh("good");
  const Digest bad = fresh("bad");
  std::ofstream(blobs.path_of(bad)) << "torn";
  BlobStore again = BlobStore::open(folder.path() / "blobs").value();
  EXPECT_TRUE(again.is_fresh(good));
  EXPECT_FALSE(again.contains(bad));
  EXPECT_TRUE(again.make_durable(good).has_value());
  EXPECT_FALSE(again.is_fresh(good));
  EXPECT_EQ(again.size(good).value(), 4u);
}

TEST_F(CommitQueueTest, AnUpdateWhoseFsyncFailedIsWrittenAnewBeforeItCounts) {
  make_queue(std::chrono::milliseconds(0));
  const Digest one = fresh("one");
  const auto first_file = blobs.path_of(one);
  fail_one_fsync();
  push("a", {one});
  run_out();
  EXPECT_EQ(told, "a");
  EXPECT_FALSE(blobs.is_fresh(one));
  EXPECT_FALSE(std::filesystem::exists(first_file));
  EXPECT_TRUE(blobs.settle(one));
}

TEST_F(CommitQueueTest, AnUpdateThatTheDiskLostEndsTheProcessBeforeItCounts) {
  make_queue(std::chrono::milliseconds(0));
  const Digest one = fresh("one");
  fail_one_fsync();
  EXPECT_FALSE(blobs.make_durable(one));
  std::ofstream(blobs.path_of(one)) << "two";
  EXPECT_DEATH(
      {
        push("a", {one});
        run_out();
      },
      "an update is lost");
}

TEST_F(CommitQueueTest, BlocksAreUsedAgainUnlessSomebodyStillReadsThem) {
  const std::string first(100'000, 'a');
  const std::string second(100'000, 'b');
  const std::string third(100'000, 'c');
  const Digest one = blobs.put(first).value();
  const auto reader = blobs.map(one).value();
  blobs.recycle({*blobs.take_out(one)});
  const Digest two = blobs.put(second).value();
  EXPECT_EQ(sha256(reader.bytes()), one) << "the reader keeps what it opened";
  blobs.recycle({*blobs.take_out(two)});
  const Digest three = blobs.put(third).value();
  EXPECT_EQ(sha256(blobs.map(three).value().bytes()), three);
}

}  // namespace
}  // namespace mh::server
