// Steps whose aggregation needs different hosts: what is kept for others, and that it suffices
// (rule 27 of coordinator.h).
#include <algorithm>
#include <set>

#include "proto/base/random.h"
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

class SpreadTest : public CoordinatorTest {
 protected:
  static JobSubmission robust_job(std::uint64_t hosts_min, std::uint64_t workunits = 4) {
    JobSubmission job = small_job("robust");
    job.batch = job.shard * workunits;
    job.hosts_min = hosts_min;
    return job;
  }
  static std::size_t distinct(const StepReady& step) {
    return std::set<std::uint32_t>(step.host_groups.begin(), step.host_groups.end()).size();
  }
};

TEST_F(SpreadTest, KeepsWorkForAsManyHostsAsAreMissing) {
  start();
  const HostId first = attach("first"), second = attach("second"), third = attach("third");
  const JobId job = submit(robust_job(3));
  EXPECT_EQ(ask(first, 4).assignments.size(), 2u) << "two of four are kept for two more hosts";
  EXPECT_EQ(ask(first, 1).no_work_reason,
            "the step's aggregation needs results of 3 hosts, 1 takes part");
  EXPECT_EQ(ask(second, 4).assignments.size(), 1u);
  EXPECT_EQ(ask(third, 4).assignments.size(), 1u);
  EXPECT_EQ(view(job).waiting_reason, "");
}

TEST_F(SpreadTest, ALoneHostGetsEverythingOfOtherJobs) {
  start();
  const HostId only = attach("only");
  submit(robust_job(1));
  EXPECT_EQ(ask(only, 4).assignments.size(), 4u);
}

TEST_F(SpreadTest, SaysWhatAJobWaitsFor) {
  start();
  const HostId only = attach("only");
  const JobId job = submit(robust_job(3));
  for (const Assignment& work : ask(only, 4).assignments) finish(only, work);
  EXPECT_EQ(view(job).waiting_reason,
            "the step's aggregation needs results of 3 hosts, 1 takes part");
}

TEST_F(SpreadTest, GroupsUpdatesByHostInTheOrderOfFirstShardsAlsoAfterARestart) {
  start();
  const HostId a = attach("a"), b = attach("b");
  submit(robust_job(2));
  const auto of_a = ask(a, 3).assignments;
  ASSERT_EQ(of_a.size(), 3u);
  const Assignment of_b = get(b);
  finish(b, of_b);
  for (const Assignment& work : of_a) finish(a, work);
  ASSERT_EQ(effects.steps_ready.size(), 1u);
  const std::vector<std::uint32_t> groups = effects.steps_ready[0].host_groups;
  EXPECT_EQ(groups, (std::vector<std::uint32_t>{0, 0, 0, 1}));
  restart();
  ASSERT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(effects.steps_ready[0].host_groups, groups);
}

TEST_F(SpreadTest, ALeaseThatRanOutMayStillComeAndCountsAsPart) {
  start();
  const HostId a = attach("a"), b = attach("b");
  submit(robust_job(2, 2));
  const Assignment late = get(a);
  EXPECT_TRUE(ask(a, 1, {late.result}).assignments.empty());
  advance(40'000);
  tick();
  advance(2'000);
  // The first waits again, and `a` may still report it: the second is not for `a`.
  const Assignment again = get(a);
  EXPECT_EQ(again.workunit, late.workunit);
  EXPECT_TRUE(ask(a, 1, {again.result}).assignments.empty());
  const Assignment of_b = get(b);
  finish(b, of_b);
  finish(a, late);
  ASSERT_EQ(effects.steps_ready.size(), 1u);
  EXPECT_EQ(distinct(effects.steps_ready[0]), 2u);
}

TEST_F(SpreadTest, NoBackupMayTakeAVoiceAway) {
  start();
  const HostId a = attach("a"), b = attach("b");
  submit(robust_job(2, 2));
  const Assignment of_a = get(a);
  const Assignment of_b = get(b);
  finish(a, of_a);
  advance(10'000);  // b is late by far, and its lease lives
  EXPECT_TRUE(ask(a, 1).assignments.empty()) << "a copy would leave one host for two workunits";
  const HostId c = attach("c");
  EXPECT_EQ(get(c).workunit, of_b.workunit) << "one that has no part may back b up";
}

// Whatever hosts do, and in whatever order: a complete step has enough of them.
TEST_F(SpreadTest, ACompleteStepAlwaysHasEnoughHosts) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    store = {};
    start();
    Philox4x32 random(seed);
    const std::uint64_t hosts_min = 2 + random.below(3);
    JobSubmission submission = robust_job(hosts_min, hosts_min + random.below(4));
    submission.step_count = 6;
    const JobId job = submit(submission);
    std::vector<HostId> hosts;
    for (std::uint64_t i = 0; i < hosts_min + random.below(3); ++i)
      hosts.push_back(attach("host " + std::to_string(i)));
    std::vector<std::pair<HostId, Assignment>> held;
    std::uint64_t steps = 0;
    for (int turn = 0; turn < 4'000 && steps < submission.step_count; ++turn) {
      advance(static_cast<std::int64_t>(random.below(3) == 0 ? random.below(60'000) : 20));
      if (random.below(40) == 0) restart();
      std::optional<StepReady> ready;
      if (random.below(2) == 0) {
        const HostId host = hosts[random.below(hosts.size())];
        std::vector<ResultId> named;
        for (const auto& [owner, work] : held) {
          if (owner == host && random.below(4) > 0) named.push_back(work.result);
        }
        const auto reply = ask(host, 1 + static_cast<std::uint32_t>(random.below(3)), named);
        for (const Assignment& work : reply.assignments) held.emplace_back(host, work);
      } else if (!held.empty()) {
        const std::size_t index = random.below(held.size());
        const auto [host, work] = held[index];
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
        if (random.below(5) > 0) finish(host, work);
        if (!effects.steps_ready.empty()) ready = effects.steps_ready.front();
      } else {
        tick();
      }
      if (!ready) continue;
      ASSERT_GE(distinct(*ready), hosts_min) << "seed " << seed;
      complete(job, ready->step);
      ++steps;
    }
    EXPECT_EQ(steps, submission.step_count) << "seed " << seed << ": " << view(job).waiting_reason;
  }
}

}  // namespace
}  // namespace mh::scheduler
