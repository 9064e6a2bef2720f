// What a job's canonical specification (scheduler/job_spec.h, canonical_job_json) says of its
// steps, for programs that take them again without the scheduler: how they are cut and how they are
// taken. Pure; no threads. Takes hostile text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/model/training_spec.h"
#include "trainer/update/step.h"

namespace mh::update {

/// Largest canonical specification (scheduler::kJobTextBytesMax).
inline constexpr std::uint64_t kJobRuleBytesMax = 1'048'576;

struct JobRule {
  std::string name;
  /// Of the data set.
  Digest manifest;
  model::TrainingSpec training;
  /// Without its step_count, which may depend on the data set: model::step_count(training, samples
  /// of the train split).
  StepRule step;
  /// How updates become one, as step records say it: "mean" (exact, over samples), else the names
  /// of pre-aggregations and rule with '+' between them, "nnm+trimmed_mean"; their numbers are in
  /// the specification.
  std::string aggregation = "mean";
};

/// Errors: kInvalidArgument with the key, what was found, what is allowed. Keys that do not decide
/// how steps are taken are not looked at.
Result<JobRule> read_job_rule(std::string_view canonical_json);

}  // namespace mh::update
