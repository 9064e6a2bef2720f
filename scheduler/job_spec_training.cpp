// The sections `training`, `optimizer` and `schedule` of a job file.
#include <algorithm>
#include <array>

#include "scheduler/job_spec_reader.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

/// Samples that a trainer takes at a time unless the file says otherwise, or the largest divisor of
/// the shard below it.
constexpr std::uint64_t kMicroBatchDefault = 64;

std::string number(std::uint64_t value) { return model::grouped(static_cast<std::int64_t>(value)); }

/// Largest divisor of `whole` that is at most `limit` and a multiple of `unit`; 0 if there is none.
std::uint64_t divisor_within(std::uint64_t whole, std::uint64_t limit, std::uint64_t unit) {
  for (std::uint64_t value = limit / unit * unit; value > 0; value -= unit) {
    if (whole % value == 0) return value;
  }
  return 0;
}

/// Adds the nearest smaller value that would do.
std::string does_not_divide(std::uint64_t value, std::string_view what, std::uint64_t whole) {
  const std::uint64_t nearest = divisor_within(whole, std::min(value, whole), 1);
  return "is " + number(value) + ", which does not divide the " + std::string(what) + ", " +
         number(whole) + "; nearest that does: " + number(nearest);
}

/// Batch, shard and micro-batch as the file gives them.
struct GivenSizes {
  std::optional<std::int64_t> batch, shard, micro_batch;
};

/// Sizes that the file leaves away follow from the others. See docs/job-file.md.
void fill_sizes(const GivenSizes& given, model::TrainingSpec& training) {
  if (given.batch) training.batch = static_cast<std::uint64_t>(*given.batch);
  const std::uint64_t unit = given.micro_batch ? static_cast<std::uint64_t>(*given.micro_batch) : 1;
  training.shard = given.shard
                       ? static_cast<std::uint64_t>(*given.shard)
                       : divisor_within(training.batch, std::max(training.batch / 4, unit), unit);
  training.micro_batch =
      given.micro_batch
          ? unit
          : divisor_within(training.shard, std::min(training.shard, kMicroBatchDefault), 1);
}

void read_sizes(Section& section, model::TrainingSpec& training) {
  constexpr auto kMost = static_cast<std::int64_t>(model::kBatchMax);
  const GivenSizes given = {section.integer("batch", 1, kMost), section.integer("shard", 1, kMost),
                            section.integer("micro_batch", 1, kMost)};
  // A value that could not be read is reported already; nothing follows from it.
  if ((section.has("batch") && !given.batch) || (section.has("shard") && !given.shard) ||
      (section.has("micro_batch") && !given.micro_batch)) {
    return;
  }
  fill_sizes(given, training);
  if (training.shard == 0) {
    section.problem("micro_batch", does_not_divide(training.micro_batch, "batch", training.batch));
    return;
  }
  if (training.shard % training.micro_batch != 0) {
    section.problem("micro_batch", does_not_divide(training.micro_batch, "shard", training.shard));
  }
  if (training.batch % training.shard != 0) {
    section.problem("shard", does_not_divide(training.shard, "batch", training.batch));
  } else if (training.batch / training.shard > kWorkunitsPerStepMax) {
    section.problem("shard", "is " + number(training.shard) + ", which cuts a step into " +
                                 number(training.batch / training.shard) + " workunits; at most " +
                                 number(kWorkunitsPerStepMax) + ", so make it larger");
  }
}

/// Keys of an optimizer or schedule of another kind are named as such rather than as unknown.
void refuse_foreign(Section& section, std::span<const std::string_view> keys,
                    std::string_view group, std::string_view owner, std::string_view kind) {
  for (const std::string_view key : keys) {
    section.refuse(key, "belongs to " + std::string(group) + " " + std::string(owner) +
                            "; here it is " + std::string(kind));
  }
}

void read_sgd(Section& section, model::OptimizerSpec& optimizer) {
  if (const auto value = section.real("momentum", real_rule(0, 1, false, true))) {
    optimizer.momentum = *value;
  }
  if (const auto value = section.flag("nesterov")) optimizer.nesterov = *value;
  if (optimizer.nesterov && optimizer.momentum == 0) {
    section.problem("nesterov", "is true, which needs momentum above 0");
  }
}

void read_adam(Section& section, model::OptimizerSpec& optimizer) {
  const auto beta = real_rule(0, 1, false, true);
  if (const auto value = section.real("beta1", beta)) optimizer.beta1 = *value;
  if (const auto value = section.real("beta2", beta)) optimizer.beta2 = *value;
  if (const auto value = section.real("epsilon", real_rule(0, 1, true))) optimizer.epsilon = *value;
}

}  // namespace

void read_training(Section& root, JobSpec& spec) {
  root.require("training", "a group with steps or passes, batch, shard, micro_batch");
  if (!root.has("training")) return;
  Section section = root.group("training");
  const bool has_steps = section.has("steps");
  if (const auto steps =
          section.integer("steps", 1, static_cast<std::int64_t>(model::kStepCountMax))) {
    spec.training.steps = static_cast<std::uint64_t>(*steps);
  }
  spec.training.passes = section.real("passes", real_rule(0, 1e6, true));
  if (has_steps) {
    section.refuse("passes", "stands beside steps; give one of them");
  } else {
    section.require("passes", "a number above 0 (passes over the train split), or steps instead");
  }
  read_sizes(section, spec.training);
  section.finish();
}

void read_optimizer(Section& root, JobSpec& spec) {
  static constexpr std::array<std::string_view, 3> kKinds = {"sgd", "adam", "adamw"};
  static constexpr std::array<std::string_view, 2> kSgdKeys = {"momentum", "nesterov"};
  static constexpr std::array<std::string_view, 3> kAdamKeys = {"beta1", "beta2", "epsilon"};
  root.require("optimizer", "a group with kind and learning_rate");
  if (!root.has("optimizer")) return;
  Section section = root.group("optimizer");
  model::OptimizerSpec& optimizer = spec.optimizer;
  section.require("kind", "sgd, adam or adamw");
  section.require("learning_rate", "a number above 0 to 1000");
  const auto kind = section.choice("kind", kKinds);
  if (kind) optimizer.kind = static_cast<model::OptimizerKind>(*kind);
  if (const auto value = section.real("learning_rate", real_rule(0, 1000, true))) {
    optimizer.learning_rate = *value;
  }
  if (optimizer.kind == model::OptimizerKind::kAdamW) optimizer.weight_decay = 0.01;
  if (const auto value = section.real("weight_decay", real_rule(0, 1)))
    optimizer.weight_decay = *value;
  const bool is_sgd = optimizer.kind == model::OptimizerKind::kSgd;
  if (!kind) {
    // Which of them belong is not known; they are at least no unknown keys.
    for (const auto key : kSgdKeys) section.find(key);
    for (const auto key : kAdamKeys) section.find(key);
  } else if (is_sgd) {
    read_sgd(section, optimizer);
    refuse_foreign(section, kAdamKeys, "optimizer", "adam and adamw", kKinds[*kind]);
  } else {
    read_adam(section, optimizer);
    refuse_foreign(section, kSgdKeys, "optimizer", "sgd", kKinds[*kind]);
  }
  section.finish();
}

void read_schedule(Section& root, JobSpec& spec) {
  static constexpr std::array<std::string_view, 3> kKinds = {"constant", "step", "cosine"};
  static constexpr std::array<std::string_view, 2> kStepKeys = {"every_steps", "factor"};
  static constexpr std::array<std::string_view, 1> kCosineKeys = {"final_factor"};
  if (!root.has("schedule")) return;
  Section section = root.group("schedule");
  model::ScheduleSpec& schedule = spec.schedule;
  const auto steps_max = static_cast<std::int64_t>(model::kStepCountMax);
  section.require("kind", "constant, step or cosine");
  const auto kind = section.choice("kind", kKinds);
  if (kind) schedule.kind = static_cast<model::ScheduleKind>(*kind);
  if (const auto value = section.integer("warmup_steps", 0, steps_max)) {
    schedule.warmup_steps = static_cast<std::uint64_t>(*value);
  }
  if (kind && schedule.kind == model::ScheduleKind::kStep) {
    section.require("every_steps", "steps between two drops, an integer of at least 1");
    if (const auto value = section.integer("every_steps", 1, steps_max)) {
      schedule.every_steps = static_cast<std::uint64_t>(*value);
    }
    if (const auto value = section.real("factor", real_rule(0, 1, true))) schedule.factor = *value;
  } else if (kind) {
    refuse_foreign(section, kStepKeys, "schedule", "step", kKinds[*kind]);
  }
  if (kind && schedule.kind == model::ScheduleKind::kCosine) {
    if (const auto value = section.real("final_factor", real_rule(0, 1))) {
      schedule.final_factor = *value;
    }
  } else if (kind) {
    refuse_foreign(section, kCosineKeys, "schedule", "cosine", kKinds[*kind]);
  } else {
    for (const auto key : kStepKeys) section.find(key);
    for (const auto key : kCosineKeys) section.find(key);
  }
  section.finish();
}

}  // namespace mh::scheduler
