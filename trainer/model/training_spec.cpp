// Names and step count; see training_spec.h.
#include "trainer/model/training_spec.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"

namespace mh::model {

std::uint64_t step_count(const TrainingSpec& training, std::uint64_t sample_count) {
  MH_CHECK(sample_count > 0 && training.batch > 0);
  if (training.steps) return *training.steps;
  MH_CHECK(training.passes.has_value());
  const double samples = *training.passes * static_cast<double>(sample_count);
  const double steps = std::ceil(samples / static_cast<double>(training.batch));
  // Beyond the limit the number itself no longer matters; the check refuses the job.
  return static_cast<std::uint64_t>(std::clamp(steps, 1.0, 1e18));
}

std::string_view optimizer_name(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kAdam:
      return "adam";
    case OptimizerKind::kAdamW:
      return "adamw";
  }
  return {};
}

std::string_view schedule_name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kConstant:
      return "constant";
    case ScheduleKind::kStep:
      return "step";
    case ScheduleKind::kCosine:
      return "cosine";
  }
  return {};
}

}  // namespace mh::model
