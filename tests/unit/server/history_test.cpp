// History: thinned curves, the newest log entries, and the proof that each sample counted once.
#include <algorithm>
#include <chrono>
#include <vector>

#include "tests/unit/server/store_fixture.h"

namespace mh::server {
namespace {

using scheduler::ResultState;

class HistoryTest : public StoreTest {
 protected:
  HistoryTest() {
    changes_.jobs = {some_job(1), some_job(2)};
    for (scheduler::JobRow& job : changes_.jobs) job.step = 1'000;
    changes_.hosts = {some_host(1), some_host(2)};
  }

  void add_steps(std::uint64_t first, std::uint64_t count, std::uint64_t job = 1) {
    for (std::uint64_t i = 0; i < count; ++i) {
      scheduler::StepRow row;
      row.job = JobId(job);
      row.step = first + i;
      row.loss = 1.0 / static_cast<double>(row.step + 1);
      changes_.steps.push_back(row);
    }
  }

  std::vector<std::uint64_t> steps(std::uint64_t from, std::uint64_t point_max) {
    std::vector<std::uint64_t> numbers;
    for (const auto& row : store_->steps(JobId(1), from, point_max).value()) {
      EXPECT_EQ(row.loss, 1.0 / static_cast<double>(row.step + 1));
      numbers.push_back(row.step);
    }
    return numbers;
  }

  // A workunit over [begin, end) of the sample stream, and one result of it for each state.
  void add_range(std::uint64_t begin, std::uint64_t end, std::vector<ResultState> states,
                 std::uint64_t job = 1) {
    scheduler::WorkunitRow workunit = some_workunit(changes_.workunits.size() + 1, job, 0, 0);
    workunit.begin = begin;
    workunit.end = end;
    workunit.step = begin / 32;
    changes_.workunits.push_back(workunit);
    for (const ResultState state : states) {
      const std::uint64_t id = changes_.results.size() + 1;
      changes_.results.push_back(some_result(id, workunit, 1 + id % 2, state));
    }
  }

  void expect_coverage(std::uint64_t positions, std::uint64_t counted, std::uint64_t doubled,
                       std::uint64_t missing) {
    const SampleCoverage coverage = store_->coverage(JobId(1), positions).value();
    EXPECT_EQ(coverage.counted, counted);
    EXPECT_EQ(coverage.doubled, doubled);
    EXPECT_EQ(coverage.missing, missing);
  }

  scheduler::Changes changes_;
};

using Steps = std::vector<std::uint64_t>;

TEST_F(HistoryTest, GivesEveryStepWhenTheyFit) {
  add_steps(0, 10);
  add_steps(0, 50, 2);
  commit_changes(changes_);
  EXPECT_EQ(steps(0, 10), (Steps{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(steps(7, UINT64_MAX), (Steps{7, 8, 9}));
  EXPECT_EQ(steps(10, 5), Steps{});
  EXPECT_EQ(steps(UINT64_MAX, 5), Steps{});
}

TEST_F(HistoryTest, ThinsStepsEvenlyAndKeepsTheLast) {
  add_steps(0, 10);
  commit_changes(changes_);
  EXPECT_EQ(steps(0, 9), (Steps{1, 3, 5, 7, 9}));
  EXPECT_EQ(steps(0, 3), (Steps{1, 5, 9}));
  EXPECT_EQ(steps(4, 3), (Steps{5, 7, 9}));
  EXPECT_EQ(steps(0, 1), Steps{9});
  EXPECT_EQ(steps(0, 0), Steps{});
}

TEST_F(HistoryTest, ThinningNeverGivesMoreThanAskedForWhateverTheNumbers) {
  add_steps(3, 97);
  commit_changes(changes_);
  for (std::uint64_t from = 0; from < 100; from += 7) {
    for (std::uint64_t point_max = 1; point_max < 110; point_max += 3) {
      const Steps found = steps(from, point_max);
      ASSERT_LE(found.size(), point_max);
      ASSERT_GE(found.size(), std::min<std::uint64_t>(point_max, 100 - std::max(from, 3UL)) / 2);
      ASSERT_EQ(found.back(), 99U);
      for (std::size_t i = 2; i < found.size(); ++i) {
        ASSERT_EQ(found[i] - found[i - 1], found[1] - found[0]);
      }
    }
  }
}

TEST_F(HistoryTest, GivesTheNewestLogEntriesOldestFirst) {
  for (std::uint64_t i = 1; i <= 20; ++i) {
    changes_.log.push_back({JobId(1), i, some_time(0), i, "entry"});
    changes_.log.push_back({JobId(2), i, some_time(0), i, "other"});
  }
  commit_changes(changes_);
  const auto entries = store_->log(JobId(1), 3).value();
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].sequence, 18U);
  EXPECT_EQ(entries[2].sequence, 20U);
  EXPECT_EQ(entries[2].text, "entry");
  EXPECT_EQ(store_->log(JobId(1), UINT64_MAX).value().size(), 20U);
}

TEST_F(HistoryTest, GivesTheEvaluationsOfOneJobByStep) {
  changes_.evaluations = {some_evaluation(1, 10, scheduler::EvaluationState::kDone),
                          some_evaluation(2, 7, scheduler::EvaluationState::kDone),
                          some_evaluation(1, 5, scheduler::EvaluationState::kSkipped)};
  commit_changes(changes_);
  const auto found = store_->evaluations(JobId(1)).value();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0], changes_.evaluations[2]);
  EXPECT_EQ(found[1], changes_.evaluations[0]);
}

TEST_F(HistoryTest, CountsEachSampleOfValidResultsOnce) {
  // Out of order, with all that a workunit may go through before and after it counts.
  add_range(16, 32, {ResultState::kExpired, ResultState::kValid, ResultState::kObsolete});
  add_range(0, 16, {ResultState::kRejected, ResultState::kFailed, ResultState::kValid});
  add_range(0, 16, {ResultState::kValid}, 2);
  commit_changes(changes_);
  expect_coverage(32, 32, 0, 0);
}

TEST_F(HistoryTest, FindsSamplesThatNobodyCounted) {
  add_range(0, 8, {ResultState::kValid});
  add_range(8, 16, {ResultState::kLeased, ResultState::kRejected});
  add_range(20, 32, {ResultState::kValid});
  commit_changes(changes_);
  expect_coverage(40, 20, 0, 20);
  expect_coverage(0, 0, 0, 0);
}

TEST_F(HistoryTest, FindsSamplesThatCountedTwice) {
  // Two valid results of one workunit; overlapping workunits; one inside another; three over one.
  add_range(0, 8, {ResultState::kValid, ResultState::kValid});
  add_range(8, 20, {ResultState::kValid});
  add_range(16, 24, {ResultState::kValid});
  add_range(24, 40, {ResultState::kValid});
  add_range(28, 32, {ResultState::kValid});
  add_range(28, 30, {ResultState::kValid});
  commit_changes(changes_);
  expect_coverage(40, 40, 8 + 4 + 4, 0);
}

TEST_F(HistoryTest, LooksAtThePositionsAskedForOnly) {
  add_range(0, 8, {ResultState::kValid});
  add_range(8, 16, {ResultState::kValid, ResultState::kValid});
  commit_changes(changes_);
  expect_coverage(8, 8, 0, 0);
  expect_coverage(12, 12, 4, 0);
}

TEST_F(HistoryTest, EvaluationsDoNotCountAsSamples) {
  add_range(0, 8, {ResultState::kValid});
  changes_.workunits[0].kind = scheduler::WorkKind::kEvaluation;
  commit_changes(changes_);
  expect_coverage(8, 0, 0, 8);
}

TEST_F(HistoryTest, AResultCountsFromTheCommitThatMakesItValid) {
  add_range(0, 8, {ResultState::kLeased, ResultState::kLeased});
  commit_changes(changes_);
  expect_coverage(8, 0, 0, 8);
  changes_.results[0].state = ResultState::kValid;
  changes_.results[1].state = ResultState::kObsolete;
  commit_changes(changes_);
  expect_coverage(8, 8, 0, 0);
}

TEST_F(HistoryTest, CoverageOfADayOfWorkIsQuick) {
  for (std::uint64_t i = 0; i < 6'000; ++i) {
    add_range(i * 8, i * 8 + 8, {ResultState::kExpired, ResultState::kValid});
  }
  commit_changes(changes_);
  expect_coverage(48'000, 48'000, 0, 0);
  const auto begin = std::chrono::steady_clock::now();
  expect_coverage(48'000, 48'000, 0, 0);
  // Takes 3 ms; a plan without its index takes minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

// After a rewind the rows of later steps stay until they are done again.
TEST_F(HistoryTest, StepsThatAreToBeDoneAgainAreNotShown) {
  add_steps(0, 10);
  changes_.jobs[0].step = 4;
  commit_changes(changes_);
  EXPECT_EQ(steps(0, 20), (Steps{0, 1, 2, 3}));
  EXPECT_EQ(steps(0, 2), (Steps{1, 3}));
  EXPECT_EQ(steps(4, 2), Steps{});
}

TEST_F(HistoryTest, ThePastOfAJobIsWhatIsDoneFromAStepOn) {
  add_range(0, 32, {ResultState::kValid});
  add_range(32, 48, {ResultState::kFailed, ResultState::kValid});
  add_range(48, 64, {ResultState::kLeased});
  add_range(64, 96, {ResultState::kValid});
  add_range(64, 96, {ResultState::kValid}, 2);
  for (scheduler::WorkunitRow& row : changes_.workunits) {
    for (const scheduler::ResultRow& result : changes_.results) {
      if (result.workunit != row.id || result.state != ResultState::kValid) continue;
      row.state = scheduler::WorkunitState::kDone;
      row.canonical = result.id;
    }
  }
  scheduler::WorkunitRow evaluation = changes_.workunits[3];
  evaluation.id = WorkunitId(6);
  evaluation.kind = scheduler::WorkKind::kEvaluation;
  evaluation.step = 1;
  evaluation.canonical = ResultId(7);
  changes_.workunits.push_back(evaluation);
  changes_.results.push_back(some_result(7, evaluation, 1, ResultState::kValid));
  changes_.contributions.resize(1);
  changes_.contributions[0].job = JobId(1);
  changes_.contributions[0].host = HostId(2);
  commit_changes(changes_);
  const scheduler::RewindPast past = store_->past(JobId(1), 1).value();
  // Not the evaluation of the parameters that step 1 starts from.
  ASSERT_EQ(past.workunits.size(), 2U);
  EXPECT_EQ(past.workunits[0], changes_.workunits[1]);
  EXPECT_EQ(past.workunits[1], changes_.workunits[3]);
  ASSERT_EQ(past.results.size(), 2U);
  EXPECT_EQ(past.results[0].id, past.workunits[0].canonical);
  EXPECT_EQ(past.results[1].id, past.workunits[1].canonical);
  EXPECT_EQ(past.contributions, changes_.contributions);
  EXPECT_EQ(store_->past(JobId(1), 0).value().workunits.size(), 4U);
}

}  // namespace
}  // namespace mh::server
