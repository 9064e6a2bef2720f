// The aggregation of one job: its parameters, optimizer state and the sum of the step in progress,
// in memory. Private to server/aggregation_runner.
// Threads: one at a time (the job's strand).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "scheduler/events.h"
#include "server/blob_store.h"
#include "server/job_models.h"
#include "server/step_sum.h"
#include "trainer/update/step.h"

namespace mh::server {

// A tensor pack whose values are computed in place, so that publishing copies nothing.
class PackBuffer {
 public:
  // All zero. Requires: within the limits of a pack.
  explicit PackBuffer(const update::PackHeader& header);

  std::span<float> values() { return values_; }
  const update::PackHeader& header() const { return header_; }
  // The whole pack, as of `step` steps done.
  std::span<const std::byte> finish(std::uint64_t step);

 private:
  update::PackHeader header_;
  std::vector<std::byte> bytes_;
  std::span<float> values_;
};

struct MappedUpdates {
  std::vector<MappedFile> files;
  std::vector<std::span<const float>> shards;
};

class JobAggregation {
 public:
  JobAggregation(BlobStore& blobs, const Digest& job_digest, const Digest& manifest_digest)
      : blobs_(blobs), job_digest_(job_digest), manifest_digest_(manifest_digest) {}

  // Keeps the digest of an update until it and some more are the next shards of their step, and
  // adds these in one pass. Failures are found again by complete().
  void accept(const scheduler::UpdateAccepted& update);

  // Takes the step. Errors: kResourceExhausted, kInternal (the disk; call again later);
  // everything else is final.
  Result<scheduler::StepOutput> complete(const scheduler::StepReady& step);

 private:
  Status prepare();
  Status load_state(const scheduler::StepReady& step);
  Result<MappedUpdates> map_updates(std::span<const Digest> digests, std::uint64_t step) const;
  Status add_updates(std::span<const Digest> digests, std::uint64_t step);
  // Leave the step's gradient in mean_: the exact mean, or what the job's robust rule gives.
  Status sum_the_rest(const scheduler::StepReady& step);
  Status aggregate_robustly(const scheduler::StepReady& step);
  void restart_sum(std::uint64_t step);
  Result<scheduler::StepOutput> publish(std::uint64_t steps_done);

  BlobStore& blobs_;
  const Digest job_digest_;
  const Digest manifest_digest_;
  JobModelPtr model_;

  // What the buffers hold; zero digests: nothing that may be used.
  Digest parameters_digest_;
  Digest optimizer_digest_;
  std::unique_ptr<PackBuffer> parameters_;
  std::unique_ptr<PackBuffer> optimizer_;
  // A step that was taken but not published yet (rule 3): its outcome.
  std::optional<std::uint64_t> unpublished_;
  update::StepOutcome outcome_;

  // The sum of step `sum_step_`: the updates added, in order, and those waiting for their turn.
  std::unique_ptr<StepSum> sum_;
  // False for a job whose few shards are summed at once, or that names a robust rule.
  bool sums_as_they_come_ = false;
  std::uint64_t sum_step_ = 0;
  std::vector<Digest> added_;
  std::map<std::uint64_t, Digest> waiting_;
  std::vector<float> mean_;
};

}  // namespace mh::server
