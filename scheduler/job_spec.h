// A job, read from its YAML file (or from its canonical JSON, which is YAML too) and checked
// completely.
//
// Flow: YAML text -> parse_job() -> check_against() a data set -> canonical_job_json(), the
// immutable blob that the server stores and that daemons and trainers get by digest -> parse_job()
// again, at the trainer. Pure; no threads.
//
// Rules
// 1. All problems are reported at once, each with line, column, path, what was found and what is
//    allowed.
// 2. Text is hostile: its size, nesting, number of nodes are bounded before anything is built from
//    it, and aliases, tags and duplicate keys are refused. *Rationale:* a few lines of aliases
//    expand to gigabytes.
// 3. Every key has one meaning and unknown keys are errors. *Rationale:* a misspelt `momentun` must
//    not train for a week without momentum.
// 4. Canonical JSON holds every default and no preset, so that a job means the same after defaults
//    change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/sha256.h"
#include "scheduler/validation_policy.h"
#include "trainer/model/aggregation_recipe.h"
#include "trainer/model/model_plan.h"
#include "trainer/model/model_spec.h"
#include "trainer/model/training_spec.h"

namespace mh {
struct DatasetManifest;
}

namespace mh::scheduler {

/// Largest job file, deepest nesting, most nodes; see rule 2.
inline constexpr std::size_t kJobTextBytesMax = 1'048'576;
inline constexpr int kJobNestingMax = 16;
inline constexpr int kJobNodeCountMax = 20'000;
/// Most problems reported for one file.
inline constexpr std::size_t kProblemCountMax = 50;
/// Most workunits that one step may be cut into, and evaluation workunits of one split.
inline constexpr std::uint64_t kWorkunitsPerStepMax = 65'536;
/// Largest seed, 2^53 - 1: what every JSON reader keeps exactly.
inline constexpr std::int64_t kSeedMax = 9'007'199'254'740'991;

/// How volunteers' work becomes a step.
enum class TrainingMode {
  /// Workunits return sums of gradients at fixed parameters. "gradient".
  kGradient,
};

/// What has a voice when a step is aggregated.
enum class AggregationUnit {
  /// The host: its shards of the step are one vector, however many they are. "host".
  kHost,
  /// Each shard. "shard".
  kShard,
};

/// How the updates of a step become its gradient. The default is the exact mean over samples.
struct AggregationSpec {
  /// Its bucket_seed is not used: buckets follow from the job's seed and the step.
  model::Recipe recipe;
  AggregationUnit unit = AggregationUnit::kHost;

  /// The exact mean over all samples, which needs no unit and streams.
  bool is_exact_mean() const { return recipe.rule == model::Rule::kMean && recipe.pre.empty(); }
  bool operator==(const AggregationSpec&) const = default;
};

/// Which code paths the CPU libraries of a trainer take.
enum class Numerics {
  /// The fastest of each processor: processors of different kinds differ in the last bits.
  /// "fastest".
  kFastest,
  /// One for all x86 processors with AVX2 and FMA, so that they agree to the bit. "pinned".
  kPinned,
};

/// When and on what the model is tested, by workunits to trusted hosts.
struct EvaluationSpec {
  /// Split of the data set.
  std::string split = "test";
  /// Steps between two evaluations; the parameters after the last step are always evaluated. 0:
  /// only those.
  std::uint64_t every_steps = 0;
  /// Samples per evaluation workunit.
  std::uint64_t shard = 2'500;

  bool operator==(const EvaluationSpec&) const = default;
};

/// Everything a job file says, with all defaults filled in and presets expanded.
struct JobSpec {
  /// 1 to 64 of letters, digits, '.', '_', '-'; begins with a letter or digit.
  std::string name;
  /// Name of a data set at the server; same alphabet.
  std::string dataset;
  /// Digest of the data set's manifest. In a researcher's file it pins the data set (optional);
  /// always in canonical JSON.
  std::optional<Digest> manifest;
  TrainingMode mode = TrainingMode::kGradient;
  /// Shuffling, first parameters and dropout all derive from it.
  std::uint64_t seed = 0;
  /// Layers and loss.
  model::ModelSpec model;
  model::TrainingSpec training;
  model::OptimizerSpec optimizer;
  model::ScheduleSpec schedule;
  /// Largest global norm of the mean gradient, above 0; 0: no clipping.
  double clip_norm = 0;
  AggregationSpec aggregation;
  /// None: the job has no evaluations.
  std::optional<EvaluationSpec> evaluation;
  /// Inputs are brought to mean 0 and deviation 1 by the data set's statistics. False for models
  /// that begin with an embedding.
  bool normalize = true;
  /// How results are checked against each other.
  ValidationPolicy validation = kUsualValidation;
  /// 0 (least) to 100.
  std::uint32_t priority = 50;
  /// CPU threads of the trainer, 1 to 256; part of the job because they decide the bits.
  std::uint32_t threads = 1;
  Numerics numerics = Numerics::kFastest;

  bool operator==(const JobSpec&) const = default;
};

/// Something wrong with a job file.
struct Problem {
  /// From 1; 0 when it belongs to the file as a whole.
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  /// "model.layers[2].kernel"; empty for the file as a whole.
  std::string path;
  std::string message;

  bool operator==(const Problem&) const = default;
};

/// "12:3: training.shard: …" (without the place when there is none).
std::string problem_text(const Problem& problem);

/// Where a key stands in the file.
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

/// Place of every key that the file holds, by path.
using Places = std::map<std::string, Place, std::less<>>;

/// Outcome of reading a file: a spec, or at least one problem.
struct ParsedJob {
  std::optional<JobSpec> spec;
  std::vector<Problem> problems;
  /// For problems found later (check_against, unknown_dataset).
  Places places;
};

/// Reads a job file. Never throws, never allocates much more than the text; needs no data set.
ParsedJob parse_job(std::string_view text);

/// What check_against() finds: problems, or a plan and the counts that depend on the data set.
struct CheckedJob {
  std::vector<Problem> problems;
  /// Present when there are no problems.
  std::optional<model::ModelPlan> plan;
  /// Samples of the train split, steps of the job, workunits of a step.
  std::uint64_t train_sample_count = 0;
  std::uint64_t step_count = 0;
  std::uint64_t workunits_per_step = 0;
};

/// Different hosts that must have part in each step, so that its aggregation is defined; 1 where
/// any number will do.
std::uint64_t hosts_needed(const AggregationSpec& aggregation);

/// Checks a job against its data set: shapes, loss and targets, splits, batch against samples,
/// pinned manifest. `manifest_digest` is the data set's. `places` (may be empty) gives problems
/// their lines.
CheckedJob check_against(const JobSpec& spec, const DatasetManifest& manifest,
                         const Digest& manifest_digest, const Places& places = {});

/// What the model must know of a data set.
model::SampleInfo sample_info(const DatasetManifest& manifest);

/// The problem of a job whose data set the server does not have; names the nearest of `known`.
Problem unknown_dataset(const JobSpec& spec, std::span<const std::string> known,
                        const Places& places);

/// The job as one line of JSON: fixed key order, every default written out, layers instead of
/// presets. The same spec and manifest give the same bytes on every machine, and parse_job() of
/// them gives the same spec (with `manifest`).
std::string canonical_job_json(const JobSpec& spec, const Digest& manifest);

}  // namespace mh::scheduler
