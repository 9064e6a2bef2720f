// What was acknowledged is there after a restart, whole, and in the order of the calls.
#include "server/sqlite_store.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "proto/base/file.h"
#include "server/sqlite_schema.h"
#include "tests/unit/server/store_fixture.h"

namespace mh::server {
namespace {

using scheduler::ResultState;
using scheduler::WorkunitState;

TEST(SqliteStoreFile, CreateRefusesAFileThatIsThere) {
  const TemporaryFolder folder;
  ASSERT_TRUE(SqliteStore::create(folder.path() / "db", "0123456789abcdef"));
  EXPECT_EQ(SqliteStore::create(folder.path() / "db", "0123456789abcdef").error().code,
            Errc::kAlreadyExists);
}

TEST(SqliteStoreFile, OpenNeedsAFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(SqliteStore::open(folder.path() / "db").error().code, Errc::kNotFound);
}

TEST(SqliteStoreFile, OpenRefusesWhatIsNoDatabase) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder.path() / "db", std::string(8192, 'x')));
  EXPECT_FALSE(SqliteStore::open(folder.path() / "db"));
}

TEST(SqliteStoreFile, ADatabaseThatInitDidNotMakeSaysSo) {
  const TemporaryFolder folder;
  ASSERT_TRUE(Database::open(folder.path() / "db", Database::Mode::kCreate));
  const auto store = SqliteStore::open(folder.path() / "db");
  ASSERT_TRUE(store) << store.error().message;
  const auto snapshot = store.value()->load();
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().code, Errc::kDataLoss);
  EXPECT_NE(snapshot.error().message.find("manyhands-server init"), std::string::npos);
}

class SqliteStoreTest : public StoreTest {
 protected:
  // A job, a host and four workunits of step 0.
  static scheduler::Changes start_of_job() {
    scheduler::Changes changes;
    changes.jobs = {some_job(1)};
    changes.hosts = {some_host(1)};
    for (std::uint64_t i = 0; i < 4; ++i) {
      changes.workunits.push_back(some_workunit(i + 1, 1, 0, i));
    }
    return changes;
  }
  void execute(const std::string& sql) {
    auto database = Database::open(file(), Database::Mode::kReadWrite);
    ASSERT_TRUE(database);
    const auto done = database->execute(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
};

TEST_F(SqliteStoreTest, ANewDatabaseHoldsItsServerIdAndNothingElse) {
  const ServerSnapshot snapshot = load();
  EXPECT_EQ(snapshot.server_id, "0123456789abcdef");
  EXPECT_TRUE(snapshot.scheduler.jobs.empty());
  EXPECT_TRUE(snapshot.accounts.accounts.empty());
  EXPECT_EQ(snapshot.scheduler.last_workunit, WorkunitId());
  EXPECT_EQ(snapshot.scheduler.last_result, ResultId());
}

TEST_F(SqliteStoreTest, RefusesADatabaseOfANewerVersion) {
  store_.reset();
  execute("PRAGMA user_version=" + std::to_string(migrations().size() + 1));
  const auto refused = SqliteStore::open(file());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kFailedPrecondition);
  const std::string newer = std::to_string(migrations().size() + 1);
  EXPECT_NE(refused.error().message.find("database has schema version " + newer +
                                         ", this program knows up to"),
            std::string::npos)
      << refused.error().message;
}

TEST_F(SqliteStoreTest, EveryServerRowComesBackAsItWas) {
  Transaction transaction;
  transaction.changes.jobs = {some_job(1)};
  transaction.changes.hosts = {some_host(3)};
  transaction.accounts = {{1, "admin", Role::kAdmin, some_time(1)}, {2, "v", Role::kVolunteer, {}}};
  transaction.tokens = {{5, 1, some_digest(1), some_time(2), some_time(3), true}};
  transaction.invitations = {{6, 2, some_digest(2), 3, 4, some_time(4)}};
  transaction.host_secrets = {{3, 2, some_digest(3), true}};
  transaction.datasets = {{"digits", some_digest(4), 1ULL << 40, some_time(5)}};
  transaction.job_sources = {{1, "request", "name: x\n", "digits"}};
  transaction.audit = {{1, some_time(6), 1, 5, "job 1 was submitted"},
                       {2, some_time(7), 1, 5, "job 1: paused"}};
  transaction.tokens[0].last_used = some_time(8);
  transaction.invitations[0].is_revoked = true;
  commit(transaction);
  const ServerSnapshot snapshot = load_again();
  EXPECT_EQ(snapshot.accounts.audit_count, 2u);
  EXPECT_EQ(store_->audit(10).value(), transaction.audit);
  EXPECT_EQ(store_->audit(1).value(), std::vector{transaction.audit[1]});
  EXPECT_EQ(snapshot.accounts.accounts, transaction.accounts);
  EXPECT_EQ(snapshot.accounts.tokens, transaction.tokens);
  EXPECT_EQ(snapshot.accounts.invitations, transaction.invitations);
  EXPECT_EQ(snapshot.accounts.host_secrets, transaction.host_secrets);
  EXPECT_EQ(snapshot.datasets, transaction.datasets);
  EXPECT_EQ(store_->yaml(JobId(1)).value(), "name: x\n");
  transaction.job_sources[0].yaml = "";
  EXPECT_EQ(snapshot.job_sources, transaction.job_sources);
}

TEST_F(SqliteStoreTest, EverySchedulerRowComesBackAsItWas) {
  scheduler::Changes changes = start_of_job();
  changes.workunits[0].state = WorkunitState::kDone;
  changes.workunits[0].canonical = ResultId(8);
  scheduler::WorkunitRow evaluation = some_workunit(9, 1, 0, 0);
  evaluation.kind = scheduler::WorkKind::kEvaluation;
  changes.workunits.push_back(evaluation);
  changes.results = {some_result(8, changes.workunits[0], 1, ResultState::kValid),
                     some_result(9, evaluation, 1, ResultState::kLeased)};
  changes.steps = {{JobId(1), 0, 2.5, 0.125, 32, 1.75, 0.01, some_time(1), some_digest(1)}};
  changes.evaluations = {
      {JobId(1), 0, scheduler::EvaluationState::kPending, "test", 1'000, 0.5, 0.25, some_time(2)}};
  changes.checkpoints = {{JobId(1), 0, some_digest(2), true}};
  changes.contributions = {
      {JobId(1), HostId(1), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0.3, 0.2, 0.1, 0.25}};
  changes.log = {{JobId(1), 1, some_time(3), 0, std::string("a\0b \xff \"'", 8)}};
  changes.host_log = {{HostId(1), 1, some_time(4), scheduler::Standing::kProbation, JobId(1),
                       ResultId(8), "it differs"}};
  changes.credit = {
      {1, some_time(5), JobId(1), HostId(1), scheduler::CreditKind::kGranted, 0.25, 0.25, "step 0"},
      {2, some_time(6), JobId(1), HostId(1), scheduler::CreditKind::kForfeited, 0.1, 0.25, "why"}};
  changes.agreements = {{JobId(1), "cpu/A", "cuda/B", 3, 1, "-20:2", 1e-5, 1e-10}};
  commit_changes(changes);
  const scheduler::Snapshot snapshot = load_again().scheduler;
  EXPECT_EQ(snapshot.jobs, changes.jobs);
  EXPECT_EQ(snapshot.hosts, changes.hosts);
  EXPECT_EQ(snapshot.workunits, changes.workunits);
  EXPECT_EQ(snapshot.results, changes.results);
  EXPECT_EQ(snapshot.evaluations, changes.evaluations);
  EXPECT_EQ(snapshot.checkpoints, changes.checkpoints);
  EXPECT_EQ(snapshot.contributions, changes.contributions);
  EXPECT_EQ(snapshot.last_workunit, WorkunitId(9));
  EXPECT_EQ(snapshot.last_result, ResultId(9));
  EXPECT_EQ(store_->log(JobId(1), 10).value(), changes.log);
  EXPECT_EQ(store_->host_log(HostId(1), 10).value(), changes.host_log);
  EXPECT_EQ(snapshot.agreements, changes.agreements);
  EXPECT_EQ(snapshot.last_credit, 2u);
  scheduler::Changes step_done;
  step_done.jobs = changes.jobs;
  step_done.jobs[0].step = 1;
  commit_changes(step_done);
  EXPECT_EQ(store_->steps(JobId(1), 0, 10).value(), changes.steps);
}

TEST_F(SqliteStoreTest, NumbersThatAreNoneComeBackAsNone) {
  scheduler::Changes changes = start_of_job();
  changes.jobs[0].training_loss = std::numeric_limits<double>::quiet_NaN();
  changes.jobs[0].training_accuracy = -std::numeric_limits<double>::infinity();
  changes.jobs[0].training_flops = 0.1 + 0.2;
  commit_changes(changes);
  const scheduler::JobRow row = load_again().scheduler.jobs.at(0);
  EXPECT_TRUE(std::isnan(row.training_loss));
  EXPECT_EQ(row.training_accuracy, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(row.training_flops, 0.1 + 0.2);
}

TEST_F(SqliteStoreTest, ARowReplacesTheOneWithItsKey) {
  scheduler::Changes changes = start_of_job();
  commit_changes(changes);
  changes.jobs[0].state = scheduler::JobState::kPaused;
  changes.jobs[0].training_loss = 7;
  changes.hosts[0].description.name = "cellar";
  changes.workunits[2].state = WorkunitState::kLeased;
  commit_changes(changes);
  const scheduler::Snapshot snapshot = load_again().scheduler;
  EXPECT_EQ(snapshot.jobs, changes.jobs);
  EXPECT_EQ(snapshot.hosts, changes.hosts);
  EXPECT_EQ(snapshot.workunits, changes.workunits);
}

TEST_F(SqliteStoreTest, CheckpointsThatAreNotKeptAndRemovedDatasetsAreGone) {
  Transaction transaction;
  transaction.changes.jobs = {some_job(1)};
  transaction.changes.checkpoints = {{JobId(1), 0, some_digest(1), true},
                                     {JobId(1), 1, some_digest(2), true}};
  transaction.datasets = {{"digits", some_digest(4), 1, {}}, {"letters", some_digest(5), 2, {}}};
  commit(transaction);
  Transaction removal;
  removal.changes.checkpoints = {{JobId(1), 0, some_digest(1), false}};
  removal.removed_datasets = {"digits", "never there"};
  commit(removal);
  const ServerSnapshot snapshot = load_again();
  ASSERT_EQ(snapshot.scheduler.checkpoints.size(), 1U);
  EXPECT_EQ(snapshot.scheduler.checkpoints[0].step, 1U);
  ASSERT_EQ(snapshot.datasets.size(), 1U);
  EXPECT_EQ(snapshot.datasets[0].name, "letters");
}

TEST_F(SqliteStoreTest, LoadsWorkOfLivingJobsOnly) {
  scheduler::Changes changes = start_of_job();
  changes.jobs[0].step = 1;
  scheduler::JobRow ended = some_job(2);
  ended.state = scheduler::JobState::kCancelled;
  ended.step = 1;
  changes.jobs.push_back(ended);
  const auto present = some_workunit(5, 1, 1, 0);
  auto pending = some_workunit(6, 1, 0, 0);
  pending.kind = scheduler::WorkKind::kEvaluation;
  auto skipped = some_workunit(7, 1, 1, 0);
  skipped.kind = scheduler::WorkKind::kEvaluation;
  const auto of_ended = some_workunit(8, 2, 1, 0);
  // Of the same shard as the present one, before a rewind.
  auto dropped = some_workunit(9, 1, 1, 0);
  dropped.state = WorkunitState::kDropped;
  changes.workunits.insert(changes.workunits.end(), {present, pending, skipped, of_ended, dropped});
  changes.evaluations = {some_evaluation(1, 0, scheduler::EvaluationState::kPending),
                         some_evaluation(1, 1, scheduler::EvaluationState::kSkipped)};
  changes.results = {some_result(1, changes.workunits[0], 1, ResultState::kValid),
                     some_result(2, present, 1, ResultState::kExpired),
                     some_result(3, present, 1, ResultState::kLeased),
                     some_result(4, of_ended, 1, ResultState::kLeased),
                     some_result(5, of_ended, 1, ResultState::kObsolete)};
  commit_changes(changes);
  const scheduler::Snapshot snapshot = load_again().scheduler;
  EXPECT_EQ(snapshot.workunits, (std::vector{present, pending}));
  // Those of living workunits, then old ones that may be reported again, without dead leases.
  EXPECT_EQ(snapshot.results, (std::vector{changes.results[1], changes.results[2],
                                           changes.results[4], changes.results[0]}));
  EXPECT_EQ(snapshot.last_workunit, WorkunitId(9));
  EXPECT_EQ(snapshot.last_result, ResultId(5));
}

TEST_F(SqliteStoreTest, ADamagedValueIsAnErrorThatNamesIt) {
  commit_changes(start_of_job());
  store_.reset();
  execute("UPDATE jobs SET optimizer_digest = x'00'");
  reopen();
  const auto snapshot = store_->load();
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().code, Errc::kDataLoss);
  EXPECT_NE(snapshot.error().message.find("table jobs"), std::string::npos);
  EXPECT_NE(snapshot.error().message.find("optimizer_digest"), std::string::npos);
  store_.reset();
  execute("UPDATE jobs SET optimizer_digest = parameters_digest, state = 77");
  reopen();
  EXPECT_EQ(store_->load().error().code, Errc::kDataLoss);
}

TEST_F(SqliteStoreTest, AcknowledgesInTheOrderOfTheCallsAndSharesCommits) {
  commit_changes(start_of_job());
  const auto before = store_->counts();
  constexpr int kCount = 2'000;
  std::vector<int> order;
  std::promise<void> all;
  for (int i = 0; i < kCount; ++i) {
    Transaction transaction;
    transaction.changes.log = {
        {JobId(1), static_cast<std::uint64_t>(i + 1), some_time(i), 0, "entry"}};
    // Callbacks run on one thread, so `order` needs no lock.
    store_->commit(std::move(transaction), [&order, &all, i] {
      order.push_back(i);
      if (i + 1 == kCount) all.set_value();
    });
  }
  all.get_future().wait();
  ASSERT_EQ(order.size(), static_cast<std::size_t>(kCount));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  const auto after = store_->counts();
  EXPECT_EQ(after.transitions - before.transitions, static_cast<std::uint64_t>(kCount));
  EXPECT_GE(after.groups - before.groups, kCount / SqliteStoreOptions{}.group_max);
  EXPECT_LT(after.groups - before.groups, static_cast<std::uint64_t>(kCount));
}

TEST_F(SqliteStoreTest, ClosingWritesWhatIsQueuedAndTellsOfIt) {
  commit_changes(start_of_job());
  std::uint64_t told = 0;
  for (std::uint64_t i = 1; i <= 1'000; ++i) {
    Transaction transaction;
    transaction.changes.log = {{JobId(1), i, some_time(0), 0, "entry"}};
    store_->commit(std::move(transaction), [&told] { ++told; });
  }
  reopen();
  EXPECT_EQ(told, 1'000U);
  EXPECT_EQ(store_->log(JobId(1), 5'000).value().size(), 1'000U);
}

TEST_F(SqliteStoreTest, ManyThreadsMayCommitAndRead) {
  commit_changes(start_of_job());
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (std::uint64_t i = 0; i < 50; ++i) {
        Transaction transaction;
        transaction.changes.log = {{JobId(1), t * 50 + i + 1, some_time(0), 0, "entry"}};
        commit(std::move(transaction));
        // What was acknowledged to this thread is seen by the reader.
        EXPECT_GE(store_->log(JobId(1), 1'000).value().size(), i + 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->log(JobId(1), 1'000).value().size(), 200U);
}

TEST_F(SqliteStoreTest, TellsOfAJobThatIsNotThere) {
  EXPECT_EQ(store_->yaml(JobId(5)).error().code, Errc::kNotFound);
  EXPECT_TRUE(store_->steps(JobId(5), 0, 10).value().empty());
  EXPECT_TRUE(store_->log(JobId(5), 10).value().empty());
  EXPECT_EQ(store_->coverage(JobId(5), 10).value().missing, 10U);
}

using SqliteStoreDeathTest = SqliteStoreTest;

TEST_F(SqliteStoreDeathTest, ATransitionThatCannotBeWrittenEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Transaction broken;
  // There is no such account.
  broken.tokens = {{5, 77, some_digest(1), some_time(2), some_time(3), true}};
  EXPECT_DEATH(commit(broken), "cannot commit: stopping");
}

// Child of the test below: commits one numbered transition after the other, two rows each, and
// writes the number of each that was acknowledged to the pipe, until it is killed.
[[noreturn]] void commit_until_killed(const std::filesystem::path& file, int pipe) {
  auto store = SqliteStore::open(file);
  if (!store) ::_exit(1);
  for (std::uint64_t i = 1; i < 1'000'000; ++i) {
    Transaction transaction;
    transaction.changes.log = {{JobId(1), i, some_time(0), 0, std::string(i % 3'000, 'x')}};
    transaction.changes.workunits = {some_workunit(i + 100, 1, 0, i)};
    store.value()->commit(std::move(transaction), [i, pipe] {
      if (::write(pipe, &i, sizeof i) != static_cast<ssize_t>(sizeof i)) ::_exit(1);
    });
    // Sometimes alone, sometimes in groups.
    if (i % 64 == 0) ::usleep(300);
  }
  ::_exit(1);
}

TEST_F(SqliteStoreTest, WhatWasAcknowledgedSurvivesAKillAndNothingIsThereByHalf) {
  commit_changes(start_of_job());
  store_.reset();
  std::uint64_t before = 0;
  for (int kill = 1; kill <= 5; ++kill) {
    SCOPED_TRACE(kill);
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    execute("DELETE FROM job_log; DELETE FROM workunits WHERE id > 100");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) commit_until_killed(file(), ends[1]);
    ::close(ends[1]);
    std::uint64_t acknowledged = 0;
    std::uint64_t number = 0;
    while (acknowledged < static_cast<std::uint64_t>(kill) * 150 &&
           ::read(ends[0], &number, sizeof number) == static_cast<ssize_t>(sizeof number)) {
      acknowledged = number;
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    while (::read(ends[0], &number, sizeof number) == static_cast<ssize_t>(sizeof number)) {
      acknowledged = number;
    }
    ::close(ends[0]);
    reopen();
    const auto log = store_->log(JobId(1), 1'000'000).value();
    const auto workunits = load().scheduler.workunits;
    store_.reset();
    EXPECT_GE(log.size(), acknowledged);
    EXPECT_GE(acknowledged, static_cast<std::uint64_t>(kill) * 150);
    // Transitions are there from the first to some last one, each with both rows.
    ASSERT_FALSE(log.empty());
    EXPECT_EQ(log.back().sequence, log.size());
    EXPECT_EQ(workunits.size(), 4 + log.size());
    before = acknowledged;
  }
  EXPECT_GT(before, 0U);
}

}  // namespace
}  // namespace mh::server
