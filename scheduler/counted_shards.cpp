// See counted_shards.h.
#include "scheduler/counted_shards.h"

#include <map>

namespace mh::scheduler {

CountedShards counted_shards(const State& state, const std::vector<WorkunitId>& workunits) {
  CountedShards shards;
  shards.reserve(workunits.size());
  for (const WorkunitId id : workunits) {
    const WorkunitRow& workunit = state.workunits.at(id).row;
    shards.push_back({&workunit, &state.results.at(workunit.canonical).row});
  }
  return shards;
}

Sums sum_of(const CountedShards& shards) {
  Sums sums;
  for (const CountedShard& shard : shards) {
    sums.loss += shard.result->loss_sum;
    sums.correct += static_cast<double>(shard.result->correct_count);
    sums.samples += shard.workunit->end - shard.workunit->begin;
  }
  return sums;
}

StepRow step_row(const JobEntry& job, std::uint64_t step, const CountedShards& shards,
                 const StepOutput& output, TimePoint now) {
  const Sums sums = sum_of(shards);
  StepRow row;
  row.job = job.row.id;
  row.step = step;
  row.loss = sums.mean_loss();
  row.accuracy = sums.accuracy(job);
  row.sample_count = sums.samples;
  row.gradient_norm = output.gradient_norm;
  row.learning_rate = output.learning_rate;
  row.finished = now;
  row.parameters_digest = output.parameters_digest;
  return row;
}

StepReady ready_step(JobId job, std::uint64_t step, const CountedShards& shards) {
  StepReady ready;
  ready.job = job;
  ready.step = step;
  std::map<HostId, std::uint32_t> groups;
  for (const CountedShard& shard : shards) {
    ready.update_digests.push_back(shard.result->update_digest);
    const auto next = static_cast<std::uint32_t>(groups.size());
    ready.host_groups.push_back(groups.try_emplace(shard.result->host, next).first->second);
    ready.sample_count += shard.workunit->end - shard.workunit->begin;
  }
  return ready;
}

}  // namespace mh::scheduler
