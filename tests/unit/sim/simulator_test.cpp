// The simulator itself: it repeats itself exactly, reads scenarios with clear errors, and sees a
// broken rule. What it finds in the scheduler is the business of its own test (tests/sim).
#include <gtest/gtest.h>

#include <set>

#include "tests/sim/account.h"
#include "tests/sim/runner.h"
#include "tests/sim/scenario.h"
#include "tests/sim/slab.h"
#include "tests/sim/world.h"

namespace mh::sim {
namespace {

Outcome run(std::uint64_t seed) { return World(ScenarioFile::mix().draw(seed, {}), seed).run(); }

TEST(Simulator, RepeatsASeedEventByEvent) {
  std::set<std::uint64_t> digests;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const Outcome first = run(seed);
    const Outcome second = run(seed);
    EXPECT_EQ(first.text, "");
    EXPECT_EQ(first.digest, second.digest) << "seed " << seed;
    EXPECT_EQ(first.counts.events, second.counts.events);
    digests.insert(first.digest);
  }
  EXPECT_EQ(digests.size(), 8u) << "seeds differ from each other";
}

TEST(Simulator, GivesTheSameOnOneThreadAndOnTwo) {
  RunOptions options;
  options.seed_count = 20;
  const RunReport one = run_seeds(options);
  options.threads = 2;
  const RunReport two = run_seeds(options);
  EXPECT_EQ(one.digest, two.digest);
  EXPECT_FALSE(one.failure.has_value());
}

TEST(Simulator, FaultsThatAreSwitchedOffMoveNoOtherNumber) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Scenario all = ScenarioFile::mix().draw(seed, {});
    const Scenario some = ScenarioFile::mix().draw(seed, {FaultKind::kCrash, FaultKind::kLoss});
    EXPECT_EQ(some.crash_every, 0);
    EXPECT_EQ(some.loss, 0);
    EXPECT_EQ(all.host_count, some.host_count);
    EXPECT_EQ(all.partition_every, some.partition_every);
    EXPECT_EQ(all.workunits, some.workunits);
  }
}

TEST(Scenario, ReadsNumbersAndRangesAndABase) {
  const auto file = ScenarioFile::read(
      "base: population\n"
      "hosts: {count: 50, always_on: [0.2, 0.4]}\n"
      "jobs:\n"
      "  workunits: 7\n");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const Scenario scenario = file->draw(3, {});
  EXPECT_EQ(scenario.host_count, 50);
  EXPECT_GE(scenario.always_on, 0.2);
  EXPECT_LE(scenario.always_on, 0.4);
  EXPECT_EQ(scenario.workunits, 7);
  EXPECT_EQ(scenario.day, 86'400);
}

TEST(Scenario, SaysWhichLineIsWrongAndWhatIsAllowed) {
  const auto error = [](const char* text) {
    const auto file = ScenarioFile::read(text);
    return file ? std::string("no error") : file.error().message;
  };
  EXPECT_EQ(error("hosts:\n  count: 0\n"), "line 2: hosts.count: 0 to 0, allowed: 1 to 2000000");
  EXPECT_EQ(error("network: {loss: [0.2, 0.1]}"),
            "line 1: network.loss: 0.2 to 0.1, allowed: 0 to 1");
  EXPECT_TRUE(
      error("hosts: {cuont: 1}").starts_with("line 1: 'hosts.cuont' is not known; hosts has"));
  EXPECT_TRUE(error("host: {count: 1}").starts_with("line 1: 'host' is no group"));
  EXPECT_TRUE(error("hosts: {count: many}").starts_with("line 1: must be a number"));
  EXPECT_TRUE(error("base: small").starts_with("line 1: base: must be mix or population"));
  EXPECT_TRUE(error("hosts: [").find("error at line") != std::string::npos);
}

// ---- The account, with rows that no coordinator would make ----

class AccountTest : public testing::Test {
 protected:
  void SetUp() override {
    Rows empty(true);
    account_.restart(empty, now_);
    scheduler::Changes begin;
    begin.jobs.push_back({});
    begin.jobs[0].id = JobId(1);
    begin.jobs[0].step_count = 1;
    begin.jobs[0].batch = 8;
    begin.jobs[0].shard = 8;
    begin.jobs[0].training_flops = 1e9;
    begin.hosts.push_back({});
    begin.hosts[0].id = HostId(1);
    begin.hosts[0].lease_quota = options_.quota_start;
    begin.workunits.push_back(workunit());
    account_.apply(begin, {}, now_, false);
    scheduler::ExchangeEvent call;
    call.host = HostId(1);
    account_.expect(call);
    account_.apply(lease(), {}, now_, true);
  }

  static scheduler::WorkunitRow workunit() {
    scheduler::WorkunitRow row;
    row.id = WorkunitId(1);
    row.job = JobId(1);
    row.end = 8;
    return row;
  }

  scheduler::Changes lease() const {
    scheduler::Changes changes;
    changes.workunits.push_back(workunit());
    changes.workunits[0].state = scheduler::WorkunitState::kLeased;
    scheduler::ResultRow row;
    row.id = ResultId(1);
    row.workunit = WorkunitId(1);
    row.job = JobId(1);
    row.host = HostId(1);
    row.leased = now_;
    row.lease_length = milliseconds(5'000);
    changes.results.push_back(row);
    return changes;
  }

  // What the account says to a change, by the name of the invariant.
  std::string says(const scheduler::Changes& changes, milliseconds after = milliseconds(0),
                   bool ends_leases = false) {
    try {
      account_.expect_no_call();
      account_.apply(changes, {}, now_ + after, ends_leases);
    } catch (const Violation& violation) {
      return violation.invariant();
    }
    return "nothing";
  }

  const scheduler::CoordinatorOptions options_;
  TimePoint now_ = from_unix_ms(1'000'000);
  Account account_{options_, true};
};

TEST_F(AccountTest, SeesALeaseThatOutlivesItsDeadline) {
  EXPECT_EQ(says({}, milliseconds(4'999), true), "nothing");
  EXPECT_EQ(says({}, milliseconds(5'000), true), "lease");
}

TEST_F(AccountTest, SeesALeaseThatEndsBeforeItsDeadline) {
  scheduler::Changes changes = lease();
  changes.workunits[0].state = scheduler::WorkunitState::kWaiting;
  changes.results[0].state = scheduler::ResultState::kExpired;
  EXPECT_EQ(says(changes, milliseconds(4'999)), "lease");
}

TEST_F(AccountTest, SeesAQuotaThatIsNotHalved) {
  scheduler::Changes changes = lease();
  changes.workunits[0].state = scheduler::WorkunitState::kWaiting;
  changes.results[0].state = scheduler::ResultState::kExpired;
  changes.hosts.push_back({});
  changes.hosts[0].id = HostId(1);
  changes.hosts[0].lease_quota = options_.quota_start;
  EXPECT_EQ(says(changes, milliseconds(5'000)), "quota");
}

TEST_F(AccountTest, SeesAStepThatEndsWithoutAWorkunit) {
  scheduler::Changes changes;
  changes.jobs.push_back(*account_.rows().job(JobId(1)));
  changes.jobs[0].step = 1;
  changes.steps.push_back({});
  changes.steps[0].job = JobId(1);
  EXPECT_EQ(says(changes), "step");
}

TEST_F(AccountTest, SeesAResultThatComesBackToLife) {
  scheduler::Changes changes = lease();
  changes.results[0].state = scheduler::ResultState::kReturned;
  changes.workunits[0].state = scheduler::WorkunitState::kWaiting;
  EXPECT_EQ(says(changes), "nothing");
  EXPECT_EQ(says(lease()), "states");
}

TEST(Slab, HandlesOfWhatIsGoneFindNothing) {
  Slab<int> slab;
  const std::uint64_t first = slab.add(1);
  EXPECT_EQ(slab.take(first), 1);
  const std::uint64_t second = slab.add(2);
  EXPECT_NE(first, second);
  EXPECT_EQ(slab.find(first), nullptr);
  EXPECT_EQ(*slab.find(second), 2);
}

}  // namespace
}  // namespace mh::sim
