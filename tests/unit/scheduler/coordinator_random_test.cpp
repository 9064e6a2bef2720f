// Random events in random order, thousands of them: hosts that lie, die, repeat themselves, lose
// replies; restarts and rewinds anywhere; two jobs at once. After each event every invariant is
// checked, the store is applied, and a naive account of what may count is kept beside. To replay a
// failure run with MH_SEED=N.
#include <cstdlib>
#include <set>

#include "proto/base/random.h"
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

// The account: which workunit counted, by whom, kept without the coordinator's help.
struct Counted {
  HostId host;
  double credit = 0;
};

struct Account {
  std::set<WorkunitId> counted;
  // By job, step and shard.
  std::map<JobId, std::map<std::uint64_t, std::map<std::uint64_t, Counted>>> shards;
  // Shards that rewinds took out of steps that are done.
  std::map<JobId, std::map<std::uint64_t, std::uint64_t>> removed;
  std::map<HostId, double> credit;
  std::set<ResultId> valid;
};

struct RandomHost {
  HostId id;
  // What the client believes to hold.
  std::map<ResultId, Assignment> held;
  std::vector<Report> sent;
  bool is_detached = false;
};

class RandomCoordinator : public CoordinatorTest {
 protected:
  void run(std::uint64_t seed, int event_count) {
    random = Philox4x32(seed, 0x52414E44);
    choose_options();
    start(options);
    for (int i = 0; i < 4; ++i) add_host();
    add_job();
    add_job();
    for (int i = 0; i < event_count && !HasFailure(); ++i) {
      advance(static_cast<std::int64_t>(random.below(10) == 0 ? random.below(9'000)
                                                              : random.below(60)));
      one_event();
      check_account();
    }
    if (!HasFailure()) drain();
    for (const auto& [id, result] : store.results) {
      ++reached[static_cast<int>(result.state)];
      if (result.is_reissue) ++reached_reissue;
    }
    for (const auto& [key, row] : store.evaluations) {
      reached_skip = reached_skip || row.state == EvaluationState::kSkipped;
    }
  }

  void choose_options() {
    options = {};
    if (random.below(2) == 0) options.quota_start = 1;
    if (random.below(3) == 0) options.copies_max = 1 + static_cast<std::uint32_t>(random.below(3));
    if (random.below(3) == 0) options.evaluations_pending_max = 2;
    if (random.below(3) == 0) options.checkpoints_kept = 1;
    if (random.below(3) == 0) options.finished_results_kept = 2;
    if (random.below(4) == 0) options.checkpoint_every = 2;
    options.steps_retained = static_cast<std::uint32_t>(random.below(6));
    // Failing jobs have tests of their own; here jobs shall live.
    options.failed_hosts_max = 1'000;
    options.failures_max = 1'000'000;
  }

  void add_host() {
    RandomHost host;
    host.id = attach("host" + std::to_string(hosts.size()), hosts.empty() || random.below(4) == 0);
    hosts.push_back(host);
  }

  void add_job() {
    JobSubmission job = random.below(2) == 0 ? small_job("job") : evaluated_job(random.below(3));
    job.step_count = 2 + random.below(12);
    job.shard = random.below(2) == 0 ? 8 : 16;
    job.priority = static_cast<std::uint32_t>(random.below(101));
    job.request_id = "request " + std::to_string(jobs.size());
    jobs.push_back(submit(job));
  }

  void one_event() {
    RandomHost& host = hosts[random.below(hosts.size())];
    switch (random.below(24)) {
      case 0:
        tick();
        return;
      case 1:
        return restart_and_compare();
      case 2:
        // The client loses its memory.
        host.held.clear();
        return;
      case 3:
        return manage_jobs();
      case 4:
        if (hosts.size() < 12) add_host();
        return rewind();
      case 5:
        if (random.below(8) == 0) detach(host);
        return;
      case 6:
        take(coordinator->set_trust(host.id, random.below(3) > 0, now)).value();
        return;
      case 7:
      case 8:
      case 9:
      case 10:
        return aggregate();
      default:
        return talk(host);
    }
  }

  // What a restarted coordinator says must be what the old one said.
  void restart_and_compare() {
    const auto jobs_before = coordinator->jobs(now);
    const auto hosts_before = coordinator->hosts();
    const auto blobs_before = coordinator->referenced_blobs();
    restart();
    ready.clear();
    note_ready();
    EXPECT_EQ(coordinator->referenced_blobs(), blobs_before);
    for (const JobView& before : jobs_before) {
      const JobView after = view(before.row.id);
      EXPECT_EQ(after.row, before.row);
      EXPECT_EQ(after.workunit_count, before.workunit_count);
      EXPECT_EQ(after.workunit_done_count, before.workunit_done_count);
      ASSERT_EQ(after.last_evaluation.has_value(), before.last_evaluation.has_value());
      ASSERT_EQ(after.best_evaluation.has_value(), before.best_evaluation.has_value());
      if (before.last_evaluation) {
        EXPECT_EQ(after.last_evaluation->step, before.last_evaluation->step);
        EXPECT_EQ(after.best_evaluation->step, before.best_evaluation->step);
      }
    }
    for (const HostView& before : hosts_before) {
      const HostView after = coordinator->host(before.id).value();
      EXPECT_EQ(after.row, before.row);
      EXPECT_EQ(after.lease_count, before.lease_count);
    }
  }

  void detach(RandomHost& host) {
    take(coordinator->detach(host.id, now)).value();
    host.is_detached = true;
  }

  void manage_jobs() {
    const JobId job = jobs[random.below(jobs.size())];
    const auto action = static_cast<JobAction>(random.below(4));
    if (action == JobAction::kCancel && random.below(10) > 0) return;
    (void)take(
        coordinator->update_job(job, action, static_cast<std::uint32_t>(random.below(101)), now));
    if (random.below(3) == 0 && jobs.size() < 6) add_job();
  }

  void rewind() {
    const JobRow before = store.jobs.at(jobs[random.below(jobs.size())]);
    if (before.step == 0) return;
    RewindOrder order;
    order.job = before.id;
    order.to = before.step - 1 - random.below(std::min<std::uint64_t>(before.step, 4));
    order.hosts = {hosts[random.below(hosts.size())].id};
    if (random.below(4) == 0) order.hosts.push_back(hosts[random.below(hosts.size())].id);
    order.reapplies = random.below(2) == 0;
    const RewindPast past = store.past(order.job, order.to);
    const auto plan = coordinator->plan_rewind(order, past);
    if (!plan) {
      EXPECT_TRUE(plan.error().code == Errc::kFailedPrecondition) << plan.error().message;
      return;
    }
    std::vector<StepOutput> outputs;
    for (const StepReady& step : plan->steps) {
      outputs.push_back(output_of(order.job, step.step));
      outputs.back().parameters_digest = digest_of("again " + std::to_string(rewind_count++));
    }
    const auto rewound = take(coordinator->rewind(order, past, *plan, outputs, now));
    ASSERT_TRUE(rewound) << rewound.error().message;
    if (!rewound->is_new) return;
    const JobRow after = store.jobs.at(order.job);
    EXPECT_EQ(after.step, order.reapplies ? before.step : order.to + 1);
    EXPECT_EQ(after.parameters_digest, outputs.back().parameters_digest);
    std::erase_if(ready, [&](const StepReady& step) { return step.job == order.job; });
    note_ready();
    note_rewind(order, after.step);
    for (const HostId host : order.hosts) {
      EXPECT_EQ(store.hosts.at(host).standing, Standing::kBanned);
    }
    for (const HostId host : order.hosts) {
      if (random.below(2) == 0) take(coordinator->forgive(host, now)).value();
    }
  }

  // The account's own idea of what is left.
  void note_rewind(const RewindOrder& order, std::uint64_t steps_done) {
    auto& steps = account.shards[order.job];
    for (auto step = steps.lower_bound(order.to); step != steps.end(); ++step) {
      const bool stays = step->first < steps_done;
      if (!stays) account.removed[order.job].erase(step->first);
      std::erase_if(step->second, [&](const auto& shard) {
        const Counted& counted = shard.second;
        const bool is_out =
            std::find(order.hosts.begin(), order.hosts.end(), counted.host) != order.hosts.end();
        if (is_out) account.credit[counted.host] -= counted.credit;
        if (is_out && stays) ++account.removed[order.job][step->first];
        return is_out || !stays;
      });
    }
  }

  void aggregate() {
    if (ready.empty()) return;
    const StepReady step = ready.back();
    ready.pop_back();
    EXPECT_EQ(step.update_digests.size(), shard_count(step.job));
    complete(step.job, step.step);
    // Told twice, as after a crash of the aggregation.
    if (random.below(4) == 0) complete(step.job, step.step);
  }

  std::uint64_t shard_count(JobId job) const {
    return store.jobs.at(job).batch / store.jobs.at(job).shard;
  }

  void talk(RandomHost& host) {
    ExchangeEvent event;
    event.host = host.id;
    event.wanted = static_cast<std::uint32_t>(random.below(4));
    for (const auto& [id, work] : host.held) {
      if (random.below(2) == 0) {
        event.reports.push_back(random_report(work));
      } else if (random.below(10) > 0) {
        event.held.push_back(id);
      }
    }
    // Repeats of old reports, and plain inventions.
    if (!host.sent.empty() && random.below(3) == 0) {
      event.reports.push_back(host.sent[random.below(host.sent.size())]);
    }
    if (random.below(10) == 0) {
      Report invented;
      invented.result = ResultId(random.below(200));
      invented.outcome = Outcome::kSuccess;
      invented.update_digest = digest_of("invented");
      event.reports.push_back(invented);
      event.held.push_back(ResultId(random.below(200)));
    }
    if (random.below(12) == 0) event.description = HostDescription{};
    event.received = now;
    auto outcome = take(coordinator->exchange(event, now));
    note_ready();
    if (!outcome.has_value()) {
      EXPECT_TRUE(host.is_detached);
      return;
    }
    const ExchangeReply reply = std::move(outcome).value();
    note_verdicts(host, event, reply);
    // The reply is lost in one of eight calls; the host then reports the same again some day.
    if (random.below(8) == 0) return;
    for (const Report& sent : event.reports) host.held.erase(sent.result);
    for (const ResultId id : reply.revoked) host.held.erase(id);
    EXPECT_LE(reply.assignments.size(), options.quota_max);
    for (const Assignment& work : reply.assignments) host.held[work.result] = work;
  }

  Report random_report(const Assignment& work) {
    Report report = success(work);
    switch (random.below(12)) {
      case 0:
        report.outcome = Outcome::kFailed;
        break;
      case 1:
        report.outcome = Outcome::kReturned;
        break;
      case 2:
        report.screening = Screening::kRefused;
        report.screening_reason = "wrong";
        break;
      case 3:
        report.screening = Screening::kMissing;
        break;
      default:
        break;
    }
    return report;
  }

  void note_verdicts(RandomHost& host, const ExchangeEvent& event, const ExchangeReply& reply) {
    ASSERT_EQ(reply.verdicts.size(), event.reports.size());
    for (std::size_t i = 0; i < reply.verdicts.size(); ++i) {
      host.sent.push_back(event.reports[i]);
      if (reply.verdicts[i].verdict != Verdict::kValid) continue;
      const ResultId id = event.reports[i].result;
      if (!account.valid.insert(id).second) continue;
      const ResultRow& row = store.results.at(id);
      EXPECT_EQ(row.host, host.id);
      EXPECT_TRUE(account.counted.insert(row.workunit).second)
          << "workunit " << row.workunit.value() << " counted twice";
      account.credit[host.id] += reply.verdicts[i].credit;
      const WorkunitRow& workunit = store.workunits.at(row.workunit);
      if (workunit.kind == WorkKind::kGradient) {
        const Counted counted{host.id, reply.verdicts[i].credit};
        auto& shards = account.shards[workunit.job][workunit.step];
        EXPECT_TRUE(shards.try_emplace(workunit.shard, counted).second);
      }
    }
  }

  void note_ready() {
    for (const StepReady& step : effects.steps_ready) ready.push_back(step);
  }

  // Store and memory agree; the account agrees with both.
  void check_account() {
    for (const JobView& job : coordinator->jobs(now)) {
      ASSERT_EQ(job.row, store.jobs.at(job.row.id));
      const auto& steps = account.shards[job.row.id];
      std::uint64_t removed = 0;
      for (std::uint64_t step = 0; step < job.row.step; ++step) {
        ASSERT_TRUE(steps.contains(step));
        const std::uint64_t lacking = account.removed[job.row.id][step];
        ASSERT_EQ(steps.at(step).size() + lacking, shard_count(job.row.id));
        removed += lacking * job.row.shard;
      }
      ASSERT_EQ(job.row.removed_sample_count, removed);
      const JobSummary summary = coordinator->job_summary(job.row.id, now).value();
      ASSERT_EQ(summary.samples_counted + removed, summary.samples_expected);
      for (const Contribution& host : summary.hosts) {
        const auto stored = store.contributions.find({job.row.id, host.row.host});
        if (stored != store.contributions.end()) {
          ASSERT_EQ(host.row, stored->second);
        }
      }
    }
    for (const HostView& host : coordinator->hosts()) {
      HostRow row = store.hosts.at(host.id);
      ASSERT_NEAR(host.row.credit, account.credit[host.id], 1e-9);
      ASSERT_EQ(row, host.row);
      std::uint32_t leases = 0;
      for (const auto& [id, result] : store.results) {
        if (result.host == host.id && result.state == ResultState::kLeased) ++leases;
      }
      ASSERT_EQ(leases, host.lease_count);
    }
  }

  // Faults stop: one honest trusted host must bring every job to its end.
  void drain() {
    const HostId helper = attach("helper", true);
    for (const JobId job : jobs) {
      (void)take(coordinator->update_job(job, JobAction::kResume, 0, now));
    }
    for (int i = 0; i < 20'000 && coordinator->running_job_count() > 0; ++i) {
      advance(500);
      tick();
      const ExchangeReply reply = ask(helper, 2);
      ExchangeEvent event;
      event.host = helper;
      for (const Assignment& work : reply.assignments) event.reports.push_back(success(work));
      exchange(event);
      note_ready();
      while (!ready.empty()) aggregate();
    }
    EXPECT_EQ(coordinator->running_job_count(), 0u) << "a job makes no progress";
  }

  // How often results ended in each state, over all seeds of this process.
  static inline std::map<int, int> reached;
  static inline int reached_reissue = 0;
  static inline bool reached_skip = false;

  Philox4x32 random{0};
  std::vector<RandomHost> hosts;
  std::vector<JobId> jobs;
  std::vector<StepReady> ready;
  Account account;
  // Makes each rewind's parameters others.
  std::uint64_t rewind_count = 0;
};

class RandomSeeds : public RandomCoordinator, public testing::WithParamInterface<int> {};

TEST_P(RandomSeeds, KeepEveryInvariantAndEndEveryJob) {
  const char* chosen = std::getenv("MH_SEED");
  const std::uint64_t seed =
      chosen ? std::strtoull(chosen, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("MH_SEED=" + std::to_string(seed));
  run(seed, 600);
}

INSTANTIATE_TEST_SUITE_P(Coordinator, RandomSeeds, testing::Range(1, 61));

// A random test that never gets anywhere proves nothing.
TEST_F(RandomCoordinator, ReachesEveryKindOfEnd) {
  for (std::uint64_t seed = 1001; seed <= 1020; ++seed) {
    SCOPED_TRACE("MH_SEED=" + std::to_string(seed));
    store = {};
    hosts.clear();
    jobs.clear();
    ready.clear();
    account = {};
    run(seed, 1'200);
  }
  EXPECT_GT(reached[static_cast<int>(ResultState::kValid)], 1'000);
  for (const ResultState state :
       {ResultState::kRejected, ResultState::kFailed, ResultState::kReturned, ResultState::kExpired,
        ResultState::kObsolete}) {
    EXPECT_GT(reached[static_cast<int>(state)], 10) << static_cast<int>(state);
  }
  EXPECT_GT(reached[static_cast<int>(ResultState::kUndone)], 100);
  EXPECT_GT(reached_reissue, 100);
  EXPECT_TRUE(reached_skip);
}

}  // namespace
}  // namespace mh::scheduler
