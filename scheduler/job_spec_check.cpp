// check_against(): what can only be known with the data set at hand. See job_spec.h.
#include <algorithm>
#include <utility>
#include <variant>

#include "proto/base/dataset_manifest.h"
#include "scheduler/job_spec.h"
#include "scheduler/job_spec_reader.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

/// Names of data sets that an error message lists.
constexpr std::size_t kListedNamesMax = 20;

std::string number(std::uint64_t value) { return model::grouped(static_cast<std::int64_t>(value)); }

/// One check after another; each may add a problem.
class Checker {
 public:
  Checker(const JobSpec& spec, const DatasetManifest& manifest, const Places& places)
      : spec_(spec), manifest_(manifest), places_(places) {}

  CheckedJob run(const Digest& manifest_digest);

 private:
  void add(std::string path, std::string message);
  void check_pin(const Digest& manifest_digest);
  void check_model();
  void check_steps();
  void check_evaluation();

  const JobSpec& spec_;
  const DatasetManifest& manifest_;
  const Places& places_;
  CheckedJob checked_;
};

void Checker::add(std::string path, std::string message) {
  const Place place = place_near(places_, path);
  checked_.problems.push_back({place.line, place.column, std::move(path), std::move(message)});
}

void Checker::check_pin(const Digest& manifest_digest) {
  if (!spec_.manifest || *spec_.manifest == manifest_digest) return;
  add("manifest", "is " + spec_.manifest->hex() + ", but the manifest of data set '" +
                      spec_.dataset + "' is " + manifest_digest.hex() +
                      "; the job was made for other data");
}

void Checker::check_model() {
  const bool has_classes = is_integer(manifest_.target.dtype) && manifest_.class_count > 0;
  if (spec_.model.loss == model::Loss::kCrossEntropy && !has_classes) {
    add("loss", "is cross_entropy, which needs class numbers as targets; those of data set '" +
                    spec_.dataset + "' are " + std::string(data_type_name(manifest_.target.dtype)) +
                    " numbers; take mse, or import the targets as classes");
    return;
  }
  auto planned = model::try_plan_model(spec_.model, sample_info(manifest_));
  if (auto* plan = std::get_if<model::ModelPlan>(&planned)) {
    checked_.plan = std::move(*plan);
    return;
  }
  auto& problem = std::get<model::ModelProblem>(planned);
  std::string path = "model";
  if (problem.layer) path += ".layers[" + std::to_string(*problem.layer) + "]";
  if (!problem.setting.empty()) path += "." + problem.setting;
  add(std::move(path), std::move(problem.message));
}

void Checker::check_steps() {
  const SplitInfo* train = manifest_.find_split("train");
  if (train == nullptr || train->count == 0) {
    add("dataset", "is '" + spec_.dataset + "', which has no split train");
    return;
  }
  const model::TrainingSpec& training = spec_.training;
  checked_.train_sample_count = train->count;
  checked_.step_count = model::step_count(training, train->count);
  checked_.workunits_per_step = training.batch / training.shard;
  if (training.batch > train->count) {
    add("training.batch", "is " + number(training.batch) + ", but the split train of data set '" +
                              spec_.dataset + "' has only " + number(train->count) +
                              " samples; a step may use each sample at most once");
  }
  if (checked_.step_count > model::kStepCountMax) {
    add("training.passes", "is " + model::number_text(training.passes.value_or(0)) +
                               ", which makes " + number(checked_.step_count) + " steps; at most " +
                               number(model::kStepCountMax));
  } else if (spec_.schedule.warmup_steps > checked_.step_count) {
    add("schedule.warmup_steps", "is " + number(spec_.schedule.warmup_steps) +
                                     ", but the job has only " + number(checked_.step_count) +
                                     " steps");
  }
}

void Checker::check_evaluation() {
  if (!spec_.evaluation) return;
  const EvaluationSpec& evaluation = *spec_.evaluation;
  const SplitInfo* split = manifest_.find_split(evaluation.split);
  if (split == nullptr) {
    std::vector<std::string_view> names;
    for (const std::string_view name : kSplitNames) {
      if (manifest_.find_split(name) != nullptr) names.push_back(name);
    }
    add("evaluation.split", "is '" + evaluation.split + "', which data set '" + spec_.dataset +
                                "' does not have; it has " + model::joined(names));
    return;
  }
  const std::uint64_t count = (split->count + evaluation.shard - 1) / evaluation.shard;
  if (count > kWorkunitsPerStepMax) {
    add("evaluation.shard", "is " + number(evaluation.shard) + ", which cuts the " +
                                number(split->count) + " samples of " + evaluation.split +
                                " into " + number(count) + " workunits; at most " +
                                number(kWorkunitsPerStepMax) + ", so make it larger");
  }
}

CheckedJob Checker::run(const Digest& manifest_digest) {
  check_pin(manifest_digest);
  check_model();
  check_steps();
  check_evaluation();
  if (!checked_.problems.empty()) checked_.plan.reset();
  return std::move(checked_);
}

}  // namespace

model::SampleInfo sample_info(const DatasetManifest& manifest) {
  model::SampleInfo info;
  info.input_shape = manifest.input.shape;
  info.input_is_integer = is_integer(manifest.input.dtype);
  info.target_shape = manifest.target.shape;
  info.target_is_integer = is_integer(manifest.target.dtype);
  info.class_count = static_cast<std::int64_t>(manifest.class_count);
  return info;
}

CheckedJob check_against(const JobSpec& spec, const DatasetManifest& manifest,
                         const Digest& manifest_digest, const Places& places) {
  return Checker(spec, manifest, places).run(manifest_digest);
}

Problem unknown_dataset(const JobSpec& spec, std::span<const std::string> known,
                        const Places& places) {
  const std::vector<std::string_view> names(known.begin(), known.end());
  std::string message = "is '" + spec.dataset + "', which this server does not have";
  if (const auto near = model::nearest_word(spec.dataset, names); !near.empty()) {
    message += "; did you mean '" + std::string(near) + "'?";
  } else if (names.empty()) {
    message += "; it has no data set at all (`manyhands dataset import` makes one)";
  } else {
    const std::size_t listed = std::min(names.size(), kListedNamesMax);
    message += "; it has " + model::joined(std::span(names).first(listed));
    if (listed < names.size()) message += " and " + number(names.size() - listed) + " more";
  }
  const Place place = place_near(places, "dataset");
  return {place.line, place.column, "dataset", std::move(message)};
}

}  // namespace mh::scheduler
