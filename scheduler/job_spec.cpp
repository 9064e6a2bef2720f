// parse_job(): from text to a complete JobSpec, or to all of its problems. See job_spec.h.
#include "scheduler/job_spec.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>
#include <variant>

#include "proto/base/dataset_manifest.h"
#include "scheduler/job_spec_reader.h"
#include "scheduler/job_spec_yaml.h"

namespace mh::scheduler {
namespace {

constexpr std::array<std::string_view, 1> kFormats = {"manyhands-job/1"};
constexpr std::array<std::string_view, 1> kModes = {"gradient"};
constexpr std::array<std::string_view, 2> kLosses = {"cross_entropy", "mse"};
constexpr std::array<std::string_view, 3> kValidationModes = {"none", "adaptive", "all"};
constexpr std::array<std::string_view, 2> kNumerics = {"fastest", "pinned"};
constexpr double kClipNormMax = 1e9;
constexpr std::int64_t kPriorityMax = 100;
constexpr std::int64_t kThreadsMax = 256;

void read_manifest(Section& root, JobSpec& spec) {
  const YamlNode* value = root.find("manifest");
  if (value == nullptr) return;
  const bool is_text = value->type == YamlNode::Type::kScalar;
  if (auto digest = is_text ? Digest::from_hex(value->text) : Digest::from_hex("")) {
    spec.manifest = *digest;
    return;
  }
  root.state().add(value->place, "manifest",
                   "is " + found_text(*value) +
                       "; allowed: the SHA-256 of the data set's manifest, 64 digits 0-9 and a-f "
                       "(`manyhands dataset show` prints it)");
}

/// What the job is called and what it trains on.
void read_names(Section& root, JobSpec& spec) {
  root.choice("format", kFormats);
  root.require("name", "a name for the job, for example fashion-mnist");
  root.require("dataset", "the name of a data set of the server (`manyhands dataset list`)");
  if (auto name = root.name("name")) spec.name = std::move(*name);
  if (auto dataset = root.name("dataset")) spec.dataset = std::move(*dataset);
  read_manifest(root, spec);
}

void read_evaluation(Section& root, JobSpec& spec) {
  if (!root.has("evaluation")) return;
  Section section = root.group("evaluation");
  EvaluationSpec evaluation;
  if (const auto split = section.choice("split", kSplitNames)) {
    evaluation.split = kSplitNames[*split];
  }
  if (const auto steps =
          section.integer("every_steps", 0, static_cast<std::int64_t>(model::kStepCountMax))) {
    evaluation.every_steps = static_cast<std::uint64_t>(*steps);
  }
  if (const auto shard = section.integer("shard", 1, static_cast<std::int64_t>(model::kBatchMax))) {
    evaluation.shard = static_cast<std::uint64_t>(*shard);
  }
  section.finish();
  spec.evaluation = std::move(evaluation);
}

void read_validation(Section& root, JobSpec& spec) {
  if (!root.has("validation")) return;
  Section section = root.group("validation");
  ValidationPolicy& policy = spec.validation;
  if (const auto mode = section.choice("mode", kValidationModes)) {
    constexpr std::array kModeValues = {ValidationMode::kNone, ValidationMode::kAdaptive,
                                        ValidationMode::kAll};
    policy.mode = kModeValues[*mode];
  }
  if (const auto quorum = section.integer("quorum", 2, kQuorumMax)) {
    policy.quorum = static_cast<std::uint32_t>(*quorum);
  }
  if (const auto share = section.real("check_share", real_rule(0, 1))) {
    policy.check_share_min = *share;
  }
  if (const auto flag = section.flag("homogeneous")) policy.is_homogeneous = *flag;
  if (const auto most = section.real("relative_l2", real_rule(0, 1))) {
    policy.relative_l2_max = *most;
  }
  if (const auto most = section.real("one_minus_cosine", real_rule(0, 1))) {
    policy.one_minus_cosine_max = *most;
  }
  section.finish();
}

/// Inputs of an embedding are row numbers; to shift and scale them would make nonsense of them.
void read_normalize(Section& root, JobSpec& spec) {
  const bool has_embedding =
      !spec.model.layers.empty() && spec.model.layers.front().kind == "embedding";
  spec.normalize = root.flag("normalize").value_or(!has_embedding);
  if (has_embedding && spec.normalize) {
    root.problem("normalize",
                 "is true, but the model begins with an embedding, whose inputs are row numbers; "
                 "leave it away or write false");
  }
}

/// Everything else that stands at the top of the file.
void read_settings(Section& root, JobSpec& spec) {
  // One mode exists; the key is there so that a file can say which one it means.
  root.choice("mode", kModes);
  if (const auto seed = root.integer("seed", 0, kSeedMax)) {
    spec.seed = static_cast<std::uint64_t>(*seed);
  }
  if (const auto loss = root.choice("loss", kLosses)) {
    spec.model.loss = *loss == 0 ? model::Loss::kCrossEntropy : model::Loss::kMeanSquaredError;
  }
  if (const auto norm = root.real("clip_norm", real_rule(0, kClipNormMax))) spec.clip_norm = *norm;
  if (const auto priority = root.integer("priority", 0, kPriorityMax)) {
    spec.priority = static_cast<std::uint32_t>(*priority);
  }
  if (const auto threads = root.integer("threads", 1, kThreadsMax)) {
    spec.threads = static_cast<std::uint32_t>(*threads);
  }
  if (const auto numerics = root.choice("numerics", kNumerics)) {
    spec.numerics = static_cast<Numerics>(*numerics);
  }
}

JobSpec read_job(ReadingState& state, const YamlNode& tree) {
  JobSpec spec;
  Section root(state, &tree, "");
  read_names(root, spec);
  read_model(root, spec);
  read_settings(root, spec);
  read_training(root, spec);
  read_optimizer(root, spec);
  read_schedule(root, spec);
  read_aggregation(root, spec);
  read_evaluation(root, spec);
  read_validation(root, spec);
  read_normalize(root, spec);
  root.finish();
  return spec;
}

/// As one reads the file; what belongs to the file as a whole comes first.
void sort_by_place(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
}

}  // namespace

std::string problem_text(const Problem& problem) {
  std::string text;
  if (problem.line != 0) {
    text = std::to_string(problem.line) + ":" + std::to_string(problem.column) + ": ";
  }
  if (!problem.path.empty()) text += problem.path + ": ";
  return text + problem.message;
}

ParsedJob parse_job(std::string_view text) {
  ParsedJob parsed;
  auto tree = read_yaml(text);
  if (auto* problem = std::get_if<Problem>(&tree)) {
    parsed.problems.push_back(std::move(*problem));
    return parsed;
  }
  ReadingState state;
  JobSpec spec = read_job(state, std::get<YamlNode>(tree));
  parsed.problems = std::move(state.problems);
  parsed.places = std::move(state.places);
  sort_by_place(parsed.problems);
  if (parsed.problems.empty()) parsed.spec = std::move(spec);
  return parsed;
}

}  // namespace mh::scheduler
