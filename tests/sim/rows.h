// The coordinator's rows as a store keeps them: Changes go in, a Snapshot comes out. The simulated
// server has one copy that is durable; the account (account.h) has one that follows the decisions.
// No threads.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/changes.h"

namespace mh::sim {

// The workunits of one step, or of one evaluation.
using GroupKey = std::tuple<JobId, scheduler::WorkKind, std::uint64_t>;

class Rows {
 public:
  // False: workunits and results of finished steps are dropped, which bounds the memory of long
  // runs.
  explicit Rows(bool keeps_history) : keeps_history_(keeps_history) {}

  void apply(const scheduler::Changes& changes);

  // What a restarted server reads: rule by rule what scheduler::Snapshot asks for, and of the ended
  // results the newest `ended_results`.
  scheduler::Snapshot snapshot(std::size_t ended_results) const;

  bool keeps_history() const { return keeps_history_; }
  const scheduler::JobRow* job(JobId id) const { return find(jobs, id); }
  const scheduler::HostRow* host(HostId id) const { return find(hosts, id); }
  const scheduler::WorkunitRow* workunit(WorkunitId id) const { return find(workunits, id); }
  const scheduler::ResultRow* result(ResultId id) const { return find(results, id); }
  // In the order of shards; empty when unknown.
  std::vector<const scheduler::WorkunitRow*> group(const GroupKey& key) const;

  std::map<JobId, scheduler::JobRow> jobs;
  std::map<HostId, scheduler::HostRow> hosts;
  std::map<WorkunitId, scheduler::WorkunitRow> workunits;
  std::map<ResultId, scheduler::ResultRow> results;
  std::map<std::pair<JobId, std::uint64_t>, scheduler::StepRow> steps;
  std::map<std::pair<JobId, std::uint64_t>, scheduler::StepRecordRow> records;
  std::map<std::pair<JobId, std::uint64_t>, scheduler::EvaluationRow> evaluations;
  std::map<std::pair<JobId, std::uint64_t>, scheduler::CheckpointRow> checkpoints;
  std::map<std::pair<JobId, HostId>, scheduler::ContributionRow> contributions;
  std::map<std::tuple<JobId, std::string, std::string>, scheduler::AgreementRow> agreements;
  std::uint64_t last_credit = 0;
  // Results of each workunit, in order of issue.
  std::map<WorkunitId, std::vector<ResultId>> results_of;

 private:
  template <class Map, class Key>
  static const typename Map::mapped_type* find(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
  }
  bool is_of_the_present(const scheduler::WorkunitRow& row) const;
  void drop_group(const GroupKey& key);

  bool keeps_history_;
  std::map<GroupKey, std::vector<WorkunitId>> groups_;
  WorkunitId last_workunit_;
  ResultId last_result_;
};

}  // namespace mh::sim
