// A coordinator with a shadow of its store, and verbs for tests. After every event the invariants
// are checked and the changes are applied to the shadow, so that a restart can be tried anywhere.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "proto/base/step_record.h"
#include "scheduler/coordinator.h"

namespace mh::scheduler {

inline Digest digest_of(const std::string& text) { return sha256(std::string_view(text)); }

// What a store does with changes.
class ShadowStore {
 public:
  void apply(const Changes& changes) {
    for (const auto& row : changes.jobs) jobs[row.id] = row;
    for (const auto& row : changes.hosts) hosts[row.id] = row;
    for (const auto& row : changes.workunits) workunits[row.id] = row;
    for (const auto& row : changes.results) results[row.id] = row;
    for (const auto& row : changes.records) {
      const auto record = parse_step_record(row.record);
      if (!record || record->kind != RecordKind::kRewind) continue;
      steps.erase(steps.lower_bound({row.job, row.step}), steps.upper_bound({row.job, UINT64_MAX}));
    }
    for (const auto& row : changes.steps) {
      EXPECT_TRUE(steps.try_emplace({row.job, row.step}, row).second) << "a step is written once";
    }
    for (const auto& row : changes.records) {
      EXPECT_TRUE(records.try_emplace({row.job, row.sequence}, row).second);
    }
    for (const auto& row : changes.evaluations) evaluations[{row.job, row.step}] = row;
    for (const auto& row : changes.checkpoints) {
      if (row.is_kept) {
        checkpoints[{row.job, row.step}] = row;
      } else {
        checkpoints.erase({row.job, row.step});
      }
    }
    for (const auto& row : changes.contributions) contributions[{row.job, row.host}] = row;
    for (const auto& row : changes.log) log.push_back(row);
    for (const auto& row : changes.host_log) host_log.push_back(row);
    for (const auto& row : changes.agreements) {
      agreements[{row.job, row.first_class, row.second_class}] = row;
    }
    for (const auto& row : changes.credit) book(row);
  }

  // The ledger's own rules.
  void book(const CreditRow& row) {
    EXPECT_EQ(row.sequence, credit.size() + 1);
    double& balance = balances[{row.job, row.host}];
    if (row.kind == CreditKind::kGranted) balance += row.gflop;
    if (row.kind == CreditKind::kWithdrawn) balance -= row.gflop;
    EXPECT_NEAR(row.balance, balance, 1e-9);
    EXPECT_GT(row.gflop, 0);
    credit.push_back(row);
  }

  Snapshot snapshot() const {
    Snapshot snapshot;
    for (const auto& [key, row] : jobs) snapshot.jobs.push_back(row);
    for (const auto& [key, row] : hosts) snapshot.hosts.push_back(row);
    for (const auto& [key, row] : evaluations) snapshot.evaluations.push_back(row);
    for (const auto& [key, row] : contributions) snapshot.contributions.push_back(row);
    for (const auto& [key, row] : checkpoints) snapshot.checkpoints.push_back(row);
    for (const auto& [key, row] : records) {
      if (row.sequence >= jobs.at(row.job).retained_from) snapshot.records.push_back(row);
    }
    for (const auto& [key, row] : workunits) snapshot.workunits.push_back(row);
    for (const auto& [key, row] : results) snapshot.results.push_back(row);
    if (!workunits.empty()) snapshot.last_workunit = workunits.rbegin()->first;
    if (!results.empty()) snapshot.last_result = results.rbegin()->first;
    for (const auto& [key, row] : agreements) snapshot.agreements.push_back(row);
    snapshot.last_credit = credit.size();
    return snapshot;
  }

  // As the store's answer of that name.
  RewindPast past(JobId job, std::uint64_t step) const {
    RewindPast past;
    for (const auto& [id, row] : workunits) {
      const bool is_later = row.kind == WorkKind::kGradient ? row.step >= step : row.step > step;
      if (row.job != job || row.state != WorkunitState::kDone || !is_later) continue;
      past.workunits.push_back(row);
      past.results.push_back(results.at(row.canonical));
    }
    const auto add_rows_of_job = [job](const auto& from, auto& to) {
      for (const auto& [key, row] : from) {
        if (row.job == job) to.push_back(row);
      }
    };
    add_rows_of_job(evaluations, past.evaluations);
    add_rows_of_job(contributions, past.contributions);
    add_rows_of_job(agreements, past.agreements);
    return past;
  }

  std::map<JobId, JobRow> jobs;
  std::map<HostId, HostRow> hosts;
  std::map<WorkunitId, WorkunitRow> workunits;
  std::map<ResultId, ResultRow> results;
  std::map<std::pair<JobId, std::uint64_t>, StepRow> steps;
  std::map<std::pair<JobId, std::uint64_t>, StepRecordRow> records;
  std::map<std::pair<JobId, std::uint64_t>, EvaluationRow> evaluations;
  std::map<std::pair<JobId, std::uint64_t>, CheckpointRow> checkpoints;
  std::map<std::pair<JobId, HostId>, ContributionRow> contributions;
  std::vector<JobLogRow> log;
  std::vector<HostLogRow> host_log;
  std::map<std::tuple<JobId, std::string, std::string>, AgreementRow> agreements;
  std::vector<CreditRow> credit;
  std::map<std::pair<JobId, HostId>, double> balances;
};

class CoordinatorTest : public testing::Test {
 protected:
  // Four workunits of 8 samples a step, three steps, no evaluation, 1 GFLOP a workunit.
  static JobSubmission small_job(const std::string& name = "small") {
    JobSubmission job;
    job.name = name;
    job.dataset = "digits";
    job.job_digest = digest_of("job " + name);
    job.manifest_digest = digest_of("manifest");
    job.parameters_digest = digest_of("parameters " + name);
    job.step_count = 3;
    job.batch = 32;
    job.shard = 8;
    job.training_flops = 1e9 / 8;
    job.evaluation_flops = 1e8;
    return job;
  }

  static JobSubmission evaluated_job(std::uint64_t every_steps = 1) {
    JobSubmission job = small_job("evaluated");
    job.has_evaluation = true;
    job.evaluation_split = "test";
    job.evaluation_sample_count = 100;
    job.evaluation_every_steps = every_steps;
    job.evaluation_shard = 40;
    job.evaluation_chunk_samples = 50;
    return job;
  }

  void start(const CoordinatorOptions& with = {}) {
    options = with;
    coordinator = std::make_unique<Coordinator>(options, Snapshot{}, now);
  }

  // The server dies and starts again; what was not stored is lost.
  void restart() {
    coordinator = std::make_unique<Coordinator>(options, store.snapshot(), now);
    take(coordinator->initial_effects(now));
  }

  template <class Reply>
  Reply take(Decision<Reply> decision) {
    store.apply(decision.changes);
    if (on_changes) on_changes(decision.changes);
    effects = std::move(decision.effects);
    wake_at = decision.wake_at;
    coordinator->sanity_check();
    return std::move(decision.reply);
  }

  HostId attach(const std::string& name, bool is_trusted = false) {
    HostDescription description;
    description.name = name;
    const HostId id = take(coordinator->attach(std::nullopt, description, {}, now)).value();
    if (is_trusted) take(coordinator->set_trust(id, true, now)).value();
    return id;
  }

  JobId submit(const JobSubmission& job) {
    return take(coordinator->submit_job(job, now)).value().job;
  }

  ExchangeReply exchange(ExchangeEvent event) {
    event.received = now;
    return take(coordinator->exchange(event, now)).value();
  }

  ExchangeReply ask(HostId host, std::uint32_t wanted, std::vector<ResultId> held = {}) {
    ExchangeEvent event;
    event.host = host;
    event.wanted = wanted;
    event.held = std::move(held);
    return exchange(event);
  }

  // Asks for one workunit and must get it.
  Assignment get(HostId host, std::vector<ResultId> held = {}) {
    const ExchangeReply reply = ask(host, 1, std::move(held));
    EXPECT_EQ(reply.assignments.size(), 1u) << reply.no_work_reason;
    return reply.assignments.empty() ? Assignment{} : reply.assignments.front();
  }

  static Report success(const Assignment& work) {
    Report report;
    report.result = work.result;
    report.outcome = Outcome::kSuccess;
    if (work.kind == WorkKind::kGradient) {
      report.update_digest = digest_of("update " + to_string(work.workunit));
      report.update_bytes = 100;
    }
    report.loss_sum = static_cast<double>(work.end - work.begin) * 0.5;
    report.correct_count = (work.end - work.begin) / 2;
    return report;
  }

  ReportVerdict report(HostId host, const Report& what) {
    ExchangeEvent event;
    event.host = host;
    event.reports = {what};
    return exchange(event).verdicts.at(0);
  }

  ReportVerdict finish(HostId host, const Assignment& work) { return report(host, success(work)); }

  StepOutput output_of(JobId job, std::uint64_t step) const {
    StepOutput output;
    output.parameters_digest =
        digest_of("parameters " + to_string(job) + " " + std::to_string(step + 1));
    output.optimizer_digest =
        digest_of("optimizer " + to_string(job) + " " + std::to_string(step + 1));
    output.gradient_norm = 1.5;
    output.learning_rate = 0.1;
    return output;
  }

  void complete(JobId job, std::uint64_t step) {
    take(coordinator->step_completed(job, step, output_of(job, step), now));
  }

  // One host does all gradients of the present step; then the step is completed.
  void run_step(JobId job, HostId host) {
    const std::uint64_t step = view(job).row.step;
    while (!view(job).waiting_reason.starts_with("the next step")) {
      finish(host, get(host));
      advance(10);
    }
    complete(job, step);
  }

  JobView view(JobId job) const { return coordinator->job(job, now).value(); }
  void advance(std::int64_t ms) { now += std::chrono::milliseconds(ms); }
  void tick() { take(coordinator->tick(now)); }

  TimePoint now = from_unix_ms(1'000'000'000);
  CoordinatorOptions options;
  ShadowStore store;
  // Told of what the shadow is told of: for a test that keeps a real store beside it.
  std::function<void(const Changes&)> on_changes;
  std::unique_ptr<Coordinator> coordinator;
  Effects effects;
  std::optional<TimePoint> wake_at;
};

}  // namespace mh::scheduler
