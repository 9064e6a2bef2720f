// The real coordinator on the real store: random events, each decision committed; now and then the
// server dies and starts again from the file, and must be what it was. To replay a failure run with
// MH_SEED=N.
#include <algorithm>
#include <cstdlib>

#include "proto/base/random.h"
#include "tests/unit/scheduler/coordinator_fixture.h"
#include "tests/unit/server/store_fixture.h"

namespace mh::scheduler {
namespace {

using server::SqliteStore;
using server::Transaction;

template <class Map>
auto rows_of(const Map& map) {
  std::vector<typename Map::mapped_type> rows;
  for (const auto& [key, row] : map) rows.push_back(row);
  return rows;
}

class CoordinatorOnSqlite : public CoordinatorTest {
 protected:
  CoordinatorOnSqlite() {
    EXPECT_TRUE(SqliteStore::create(file(), "0123456789abcdef"));
    open();
    on_changes = [this](const Changes& changes) {
      Transaction transaction;
      transaction.changes = changes;
      sqlite->commit(std::move(transaction), {});
    };
  }

  std::filesystem::path file() const { return folder.path() / "manyhands.db"; }

  void open() {
    sqlite.reset();
    auto opened = SqliteStore::open(file());
    ASSERT_TRUE(opened) << opened.error().message;
    sqlite = std::move(*opened);
  }

  // Closes (which commits what is queued), opens, and starts a coordinator from what is there.
  void restart_from_file() {
    open();
    auto loaded = sqlite->load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    expect_same_rows(loaded->scheduler);
    const auto jobs_before = coordinator->jobs(now);
    const auto hosts_before = coordinator->hosts();
    const auto blobs_before = coordinator->referenced_blobs();
    coordinator = std::make_unique<Coordinator>(options, std::move(loaded->scheduler), now);
    coordinator->sanity_check();
    EXPECT_EQ(coordinator->referenced_blobs(), blobs_before);
    expect_same_jobs(jobs_before);
    for (const HostView& before : hosts_before) {
      const HostView after = coordinator->host(before.id).value();
      EXPECT_EQ(after.row, before.row);
      EXPECT_EQ(after.lease_count, before.lease_count);
    }
    take(coordinator->initial_effects(now));
    ready.clear();
    note_ready();
  }

  // All rows of these kinds are as the shadow has them; work at least of what goes on.
  void expect_same_rows(const Snapshot& snapshot) {
    EXPECT_EQ(snapshot.jobs, rows_of(store.jobs));
    EXPECT_EQ(snapshot.hosts, rows_of(store.hosts));
    EXPECT_EQ(snapshot.evaluations, rows_of(store.evaluations));
    // Contributions to ended jobs stay on the disk.
    auto contributions = rows_of(store.contributions);
    std::erase_if(contributions, [&](const ContributionRow& row) {
      const JobState of = store.jobs.at(row.job).state;
      return of != JobState::kRunning && of != JobState::kPaused;
    });
    EXPECT_EQ(snapshot.contributions, contributions);
    EXPECT_EQ(snapshot.checkpoints, rows_of(store.checkpoints));
    for (const WorkunitRow& row : snapshot.workunits) EXPECT_EQ(row, store.workunits.at(row.id));
    for (const ResultRow& row : snapshot.results) EXPECT_EQ(row, store.results.at(row.id));
    const Snapshot whole = store.snapshot();
    EXPECT_EQ(snapshot.last_workunit, whole.last_workunit);
    EXPECT_EQ(snapshot.last_result, whole.last_result);
  }

  void expect_same_jobs(const std::vector<JobView>& jobs_before) {
    for (const JobView& before : jobs_before) {
      const JobView after = view(before.row.id);
      EXPECT_EQ(after.row, before.row);
      EXPECT_EQ(after.workunit_count, before.workunit_count);
      EXPECT_EQ(after.workunit_done_count, before.workunit_done_count);
      ASSERT_EQ(after.last_evaluation.has_value(), before.last_evaluation.has_value());
      if (before.last_evaluation) {
        EXPECT_EQ(after.last_evaluation->step, before.last_evaluation->step);
        EXPECT_EQ(after.best_evaluation->step, before.best_evaluation->step);
      }
      const std::uint64_t positions = after.row.step * after.row.batch;
      const auto coverage = sqlite->coverage(after.row.id, positions).value();
      EXPECT_EQ(coverage.counted, positions);
      EXPECT_EQ(coverage.doubled, 0U);
      EXPECT_EQ(coverage.missing, 0U);
      EXPECT_EQ(sqlite->steps(after.row.id, 0, UINT64_MAX).value().size(), after.row.step);
      EXPECT_EQ(sqlite->log(after.row.id, UINT64_MAX).value().size(), after.row.log_count);
    }
  }

  void note_ready() {
    for (const StepReady& step : effects.steps_ready) ready.push_back(step);
  }

  void add_job() {
    JobSubmission job = random.below(2) == 0 ? small_job("job") : evaluated_job(random.below(3));
    job.step_count = 2 + random.below(5);
    job.request_id = "request " + std::to_string(jobs.size());
    jobs.push_back(submit(job));
  }

  void talk(HostId host) {
    ExchangeEvent event;
    event.host = host;
    event.wanted = static_cast<std::uint32_t>(random.below(4));
    auto& held = held_by[host];
    for (const Assignment& work : held) {
      const std::uint64_t choice = random.below(16);
      Report what = success(work);
      if (choice == 0) what.outcome = Outcome::kFailed;
      if (choice == 1) what.outcome = Outcome::kReturned;
      if (choice == 2) what.screening = Screening::kRefused;
      if (choice < 9) event.reports.push_back(what);
      // Else it is forgotten, and its lease runs out.
      if (choice >= 9 && choice < 14) event.held.push_back(work.result);
    }
    // As after a restart of server or client: the same report once more.
    if (last_report[host].result.is_valid()) event.reports.push_back(last_report[host]);
    event.received = now;
    const auto reply = take(coordinator->exchange(event, now));
    note_ready();
    if (!event.reports.empty()) last_report[host] = event.reports.front();
    held.clear();
    if (reply.has_value()) held = reply->assignments;
  }

  void one_event() {
    const HostId host = hosts[random.below(hosts.size())];
    switch (random.below(16)) {
      case 0:
        return tick();
      case 1:
        if (hosts.size() < 8) hosts.push_back(attach("late", random.below(2) == 0));
        return;
      case 2:
        if (random.below(20) == 0) take(coordinator->detach(host, now)).value();
        return;
      case 3: {
        const auto action = static_cast<JobAction>(random.below(3));
        (void)take(coordinator->update_job(jobs[random.below(jobs.size())], action, 50, now));
        if (jobs.size() < 4 && random.below(4) == 0) add_job();
        return;
      }
      case 4:
      case 5:
      case 6:
        if (ready.empty()) return;
        complete(ready.back().job, ready.back().step);
        ready.pop_back();
        return note_ready();
      default:
        return talk(host);
    }
  }

  void run(std::uint64_t seed) {
    random = Philox4x32(seed, 0x53544F52);
    options.checkpoints_kept = 1 + static_cast<std::uint32_t>(random.below(3));
    options.evaluations_pending_max = 2;
    options.failed_hosts_max = 1'000;
    options.failures_max = 1'000'000;
    start(options);
    for (int i = 0; i < 4; ++i) hosts.push_back(attach("host", i == 0));
    add_job();
    add_job();
    for (int i = 0; i < 400 && !HasFailure(); ++i) {
      advance(static_cast<std::int64_t>(random.below(10) == 0 ? random.below(9'000)
                                                              : random.below(60)));
      one_event();
      if (random.below(20) == 0) restart_from_file();
    }
    restart_from_file();
  }

  server::TemporaryFolder folder;
  std::unique_ptr<SqliteStore> sqlite;
  Philox4x32 random{0};
  std::vector<HostId> hosts;
  std::vector<JobId> jobs;
  std::vector<StepReady> ready;
  std::map<HostId, std::vector<Assignment>> held_by;
  std::map<HostId, Report> last_report;
};

TEST_F(CoordinatorOnSqlite, AReportRepeatedAfterARestartIsAnsweredAsBefore) {
  start();
  const HostId host = attach("host");
  const JobId job = submit(small_job());
  const Assignment work = get(host);
  const ReportVerdict verdict = finish(host, work);
  EXPECT_EQ(verdict.verdict, Verdict::kValid);
  run_step(job, host);
  restart_from_file();
  const ReportVerdict again = finish(host, work);
  EXPECT_EQ(again.verdict, Verdict::kValid);
  EXPECT_EQ(again.credit, verdict.credit);
  EXPECT_EQ(coordinator->host(host)->row.valid_count, 4U);
}

TEST_F(CoordinatorOnSqlite, IdsGoOnAfterARestart) {
  start();
  const HostId host = attach("host");
  submit(small_job());
  const Assignment work = get(host);
  restart_from_file();
  EXPECT_GT(attach("other"), host);
  const Assignment other = get(HostId(host.value() + 1));
  EXPECT_GT(other.result, work.result);
  EXPECT_GT(submit(small_job("second")), JobId(1));
}

class CoordinatorSeedsOnSqlite : public CoordinatorOnSqlite,
                                 public testing::WithParamInterface<int> {};

TEST_P(CoordinatorSeedsOnSqlite, IsAfterARestartWhatItWas) {
  const char* chosen = std::getenv("MH_SEED");
  const std::uint64_t seed =
      chosen ? std::strtoull(chosen, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("MH_SEED=" + std::to_string(seed));
  run(seed);
  std::uint64_t steps = 0;
  for (const auto& [id, job] : store.jobs) steps += job.step;
  EXPECT_GT(steps, 0U) << "a test that gets nowhere proves nothing";
}

INSTANTIATE_TEST_SUITE_P(Server, CoordinatorSeedsOnSqlite, testing::Range(1, 13));

}  // namespace
}  // namespace mh::scheduler
