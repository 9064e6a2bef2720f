// `manyhands-trainer reference`: a whole job alone in one process, without server and volunteers.
//
// It calls what the system calls, in the same order: LoadedJob::gradient() for each shard,
// GradientAccumulator in shard order, take_step(), make_pack(). So the digest of the parameters
// after each step is what the system's must be. Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/engine/loaded_job.h"

namespace mh::engine {

/// One step as it was taken.
struct ReferenceStep {
  /// Steps done: from 1.
  std::uint64_t step = 0;
  /// SHA-256 of the parameters' tensor pack.
  Digest parameters_digest;
  /// Mean loss of the step's samples, at the parameters before it; share of correct answers.
  double loss = 0;
  double accuracy = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  double milliseconds = 0;
};

/// Sums over the evaluation split, at the last parameters.
struct ReferenceOutcome {
  std::vector<float> parameters;
  std::uint64_t steps_done = 0;
  /// None where the job has no evaluation.
  std::optional<Sums> evaluation;
};

/// Runs the job from its first parameters for `step_count` steps (at most those of the job; the
/// schedule is that of the whole job). `report` is called after each step. Errors: those of
/// LoadedJob and of update::take_step(), with the step; kFailedPrecondition for a job that
/// aggregates over hosts robustly: there is only one here.
Result<ReferenceOutcome> run_reference(LoadedJob& job, std::uint64_t step_count,
                                       const std::function<void(const ReferenceStep&)>& report);

}  // namespace mh::engine
