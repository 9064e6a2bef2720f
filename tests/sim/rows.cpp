#include "tests/sim/rows.h"

#include <algorithm>

namespace mh::sim {
namespace {

using scheduler::EvaluationState;
using scheduler::JobState;
using scheduler::ResultState;
using scheduler::WorkKind;

bool has_ended(const scheduler::JobRow& row) {
  return row.state != JobState::kRunning && row.state != JobState::kPaused;
}

}  // namespace

void Rows::apply(const scheduler::Changes& changes) {
  for (const auto& row : changes.jobs) jobs[row.id] = row;
  for (const auto& row : changes.hosts) hosts[row.id] = row;
  for (const auto& row : changes.workunits) {
    const auto [place, is_new] = workunits.insert_or_assign(row.id, row);
    if (is_new) groups_[{row.job, row.kind, row.step}].push_back(row.id);
    last_workunit_ = std::max(last_workunit_, row.id);
  }
  for (const auto& row : changes.results) {
    const auto [place, is_new] = results.insert_or_assign(row.id, row);
    if (is_new) results_of[row.workunit].push_back(row.id);
    last_result_ = std::max(last_result_, row.id);
  }
  for (const auto& row : changes.steps) steps[{row.job, row.step}] = row;
  for (const auto& row : changes.records) records[{row.job, row.sequence}] = row;
  for (const auto& row : changes.jobs) {
    // What is not kept is never asked for again.
    records.erase(records.lower_bound({row.id, 0}),
                  records.lower_bound({row.id, row.retained_from}));
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
  for (const auto& row : changes.agreements) {
    agreements[{row.job, row.first_class, row.second_class}] = row;
  }
  for (const auto& row : changes.credit) last_credit = std::max(last_credit, row.sequence);
  if (keeps_history_) return;
  for (const auto& row : changes.steps) drop_group({row.job, WorkKind::kGradient, row.step});
  for (const auto& row : changes.evaluations) {
    if (row.state != EvaluationState::kPending)
      drop_group({row.job, WorkKind::kEvaluation, row.step});
  }
}

void Rows::drop_group(const GroupKey& key) {
  const auto group = groups_.find(key);
  if (group == groups_.end()) return;
  for (const WorkunitId id : group->second) {
    if (const auto found = results_of.find(id); found != results_of.end()) {
      for (const ResultId result : found->second) results.erase(result);
      results_of.erase(found);
    }
    workunits.erase(id);
  }
  groups_.erase(group);
}

std::vector<const scheduler::WorkunitRow*> Rows::group(const GroupKey& key) const {
  std::vector<const scheduler::WorkunitRow*> rows;
  const auto group = groups_.find(key);
  if (group == groups_.end()) return rows;
  for (const WorkunitId id : group->second) rows.push_back(&workunits.at(id));
  std::sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) {
    return std::tie(a->shard, a->id) < std::tie(b->shard, b->id);
  });
  return rows;
}

bool Rows::is_of_the_present(const scheduler::WorkunitRow& row) const {
  const scheduler::JobRow& owner = jobs.at(row.job);
  if (has_ended(owner)) return false;
  if (row.kind == WorkKind::kGradient) return row.step == owner.step;
  const auto evaluation = evaluations.find({row.job, row.step});
  return evaluation != evaluations.end() && evaluation->second.state == EvaluationState::kPending;
}

scheduler::Snapshot Rows::snapshot(std::size_t ended_results) const {
  scheduler::Snapshot snapshot;
  for (const auto& [key, row] : jobs) snapshot.jobs.push_back(row);
  for (const auto& [key, row] : hosts) snapshot.hosts.push_back(row);
  for (const auto& [key, row] : evaluations) snapshot.evaluations.push_back(row);
  for (const auto& [key, row] : contributions) snapshot.contributions.push_back(row);
  for (const auto& [key, row] : checkpoints) snapshot.checkpoints.push_back(row);
  for (const auto& [key, row] : records) snapshot.records.push_back(row);
  for (const auto& [key, row] : workunits) {
    if (is_of_the_present(row)) snapshot.workunits.push_back(row);
  }
  std::size_t ended = 0;
  for (auto entry = results.rbegin(); entry != results.rend(); ++entry) {
    const scheduler::ResultRow& row = entry->second;
    const bool is_present = is_of_the_present(workunits.at(row.workunit));
    const bool is_remembered = row.state != ResultState::kLeased && ended < ended_results;
    if (!is_present && !is_remembered) continue;
    if (!is_present) ++ended;
    snapshot.results.push_back(row);
  }
  for (const auto& [key, row] : agreements) {
    if (!has_ended(jobs.at(row.job))) snapshot.agreements.push_back(row);
  }
  snapshot.last_credit = last_credit;
  snapshot.last_workunit = last_workunit_;
  snapshot.last_result = last_result_;
  return snapshot;
}

}  // namespace mh::sim
