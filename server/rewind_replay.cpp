// See rewind_replay.h.
#include "server/rewind_replay.h"

#include "server/job_aggregation.h"

namespace mh::server {

Result<std::vector<scheduler::StepOutput>> replay_steps(BlobStore& blobs, const Digest& job_digest,
                                                        const Digest& manifest_digest,
                                                        const scheduler::RewindPlan& plan) {
  JobAggregation aggregation(blobs, job_digest, manifest_digest);
  std::vector<scheduler::StepOutput> outputs;
  for (scheduler::StepReady step : plan.steps) {
    if (!outputs.empty()) {
      step.parameters_digest = outputs.back().parameters_digest;
      step.optimizer_digest = outputs.back().optimizer_digest;
    }
    MH_TRY(scheduler::StepOutput output, aggregation.complete(step));
    outputs.push_back(std::move(output));
  }
  return outputs;
}

}  // namespace mh::server
