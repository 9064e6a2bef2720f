// See checkpoints.h.
#include "scheduler/checkpoints.h"

#include <algorithm>

namespace mh::scheduler {

void keep_checkpoint(State& state, JobEntry& job) {
  CheckpointRow row;
  row.job = job.row.id;
  row.step = job.row.step;
  row.parameters_digest = job.row.parameters_digest;
  state.blobs.add(row.parameters_digest);
  state.store(row);
  job.checkpoints.emplace(row.step, row);
}

bool is_checkpoint_needed(const CoordinatorOptions& options, const JobEntry& job,
                          std::uint64_t step) {
  const std::uint64_t kept = std::max<std::uint32_t>(1, options.checkpoints_kept);
  if (step + kept > job.row.step) return true;
  if (job.best_evaluation && job.best_evaluation->step == step) return true;
  if (options.checkpoint_every > 0 && step % options.checkpoint_every == 0) return true;
  return job.evaluations.contains(step);
}

void prune_checkpoints(State& state, JobEntry& job) {
  for (auto checkpoint = job.checkpoints.begin(); checkpoint != job.checkpoints.end();) {
    if (is_checkpoint_needed(state.options, job, checkpoint->first)) {
      ++checkpoint;
      continue;
    }
    CheckpointRow row = checkpoint->second;
    row.is_kept = false;
    state.store(row);
    state.release(row.parameters_digest);
    checkpoint = job.checkpoints.erase(checkpoint);
  }
}

}  // namespace mh::scheduler
