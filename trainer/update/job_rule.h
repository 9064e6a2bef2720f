// What a job's canonical specification (scheduler/job_spec.h, canonical_job_json) says of its
// steps, for programs that take them again without the scheduler: how they are cut and how they are
// taken. Pure; no threads. Takes hostile text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/model/aggregation_recipe.h"
#include "trainer/model/training_spec.h"
#include "trainer/update/step.h"

namespace mh::update {

/// Largest canonical specification (scheduler::kJobTextBytesMax).
inline constexpr std::uint64_t kJobRuleBytesMax = 1'048'576;

/// What has a voice in a robust rule: a host with all its shards of the step, or each shard.
enum class VoiceUnit { kHost, kShard };

struct JobRule {
  std::string name;
  /// Of the data set.
  Digest manifest;
  model::TrainingSpec training;
  /// Without its step_count, which may depend on the data set: model::step_count(training, samples
  /// of the train split).
  StepRule step;
  std::uint64_t seed = 0;
  /// How updates become one; step records name it by model::names_of(). Its bucket_seed is not
  /// used (bucket_key.h).
  model::Recipe recipe;
  VoiceUnit unit = VoiceUnit::kHost;

  /// The exact mean over all samples, where voices mean nothing.
  bool is_exact_mean() const { return recipe.rule == model::Rule::kMean && recipe.pre.empty(); }
};

/// Errors: kInvalidArgument with the key, what was found, what is allowed. Keys that do not decide
/// how steps are taken are not looked at.
Result<JobRule> read_job_rule(std::string_view canonical_json);

}  // namespace mh::update
