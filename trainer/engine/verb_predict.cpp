// `manyhands-trainer predict`: what a model says of single samples, beside the truth.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "proto/base/options.h"
#include "trainer/engine/model_file.h"
#include "trainer/engine/program.h"

namespace mh::engine {
namespace {

using Json = nlohmann::ordered_json;

/// Samples computed and shown at a time.
constexpr std::uint64_t kBlock = 256;
/// Values of one sample that are printed for people; --json has all.
constexpr std::size_t kShownMax = 8;

struct Arguments {
  std::string model;
  std::vector<std::string> data;
  std::string split = "test";
  std::uint64_t first = 0;
  std::uint64_t count = 10;
  std::string device = "cpu";
  bool wants_json = false;
};

/// The most likely class of one row of logits, and its probability.
struct Guess {
  std::size_t class_number = 0;
  double probability = 0;
};

Guess guess_of(std::span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - *best);
  return {static_cast<std::size_t>(best - logits.begin()), 1 / sum};
}

std::string class_name(const DatasetManifest& manifest, std::uint64_t number) {
  return number < manifest.class_names.size() ? manifest.class_names[number]
                                              : std::to_string(number);
}

std::string number_text(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", number);
  return text;
}

std::string shortened(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i == kShownMax) return text + " … (" + std::to_string(words.size()) + ")";
    text += (i == 0 ? "" : " ") + words[i];
  }
  return text;
}

void show(std::uint64_t sample, const std::string& said, const std::string& truth,
          const std::string& remark) {
  std::printf("%6" PRIu64 "  %-20s truth: %-20s %s\n", sample, said.c_str(), truth.c_str(),
              remark.c_str());
}

/// A sample with one or several classes to guess. Returns true when all are right.
Result<bool> report_classes(const ModelOnData& model, const ChunkSource& samples,
                            std::uint64_t sample, std::span<const float> output, bool wants_json) {
  const auto classes = static_cast<std::size_t>(model.plan.class_count);
  std::vector<std::int64_t> targets(output.size() / classes);
  MH_TRY_VOID(samples.read_target(sample, targets, model.plan.class_count));
  std::vector<std::string> said;
  std::vector<std::string> truth;
  Json json = {{"sample", sample}, {"classes", Json::array()}, {"truth", targets}};
  double probability = 1;
  bool is_right = true;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Guess guess = guess_of(output.subspan(i * classes, classes));
    json["classes"].push_back(guess.class_number);
    said.push_back(class_name(model.manifest, guess.class_number));
    truth.push_back(class_name(model.manifest, static_cast<std::uint64_t>(targets[i])));
    probability *= guess.probability;
    is_right = is_right && guess.class_number == static_cast<std::size_t>(targets[i]);
  }
  if (wants_json) {
    json["class_names"] = said;
    json["truth_names"] = truth;
    json["probability"] = probability;
    json["right"] = is_right;
    std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    char remark[40];
    std::snprintf(remark, sizeof remark, "%5.1f %%%s", 100 * probability,
                  is_right ? "" : "  wrong");
    show(sample, shortened(said), shortened(truth), remark);
  }
  return is_right;
}

Status report_numbers(const ModelOnData& model, const ChunkSource& samples, std::uint64_t sample,
                      std::span<const float> output, bool wants_json) {
  std::vector<float> targets(static_cast<std::size_t>(samples.target_elements()));
  MH_TRY_VOID(samples.read_target(sample, targets));
  if (wants_json) {
    const Json json = {{"sample", sample},
                       {"output", std::vector<float>(output.begin(), output.end())},
                       {"shape", model.plan.output_shape},
                       {"truth", targets}};
    std::printf("%s\n", json.dump().c_str());
    return {};
  }
  std::vector<std::string> said;
  std::vector<std::string> truth;
  for (const float value : output) said.push_back(number_text(value));
  for (const float value : targets) truth.push_back(number_text(value));
  show(sample, shortened(said), shortened(truth), "");
  return {};
}

Result<int> run(const Arguments& arguments) {
  MH_TRY(const OpenModel open,
         open_model(arguments.model, arguments.data, arguments.split, arguments.device));
  const ModelOnData& model = open.model;
  const ReadyModel& ready = open.ready;
  if (arguments.first >= ready.samples->count()) {
    return fail(Errc::kInvalidArgument, "--first is " + std::to_string(arguments.first) +
                                            ", split " + arguments.split + " has " +
                                            std::to_string(ready.samples->count()) + " samples");
  }
  const std::uint64_t count = std::min(arguments.count, ready.samples->count() - arguments.first);
  const bool has_classes = model.plan.loss == model::Loss::kCrossEntropy;
  std::uint64_t right = 0;
  for (std::uint64_t done = 0; done < count; done += kBlock) {
    std::vector<std::uint64_t> indices(std::min(kBlock, count - done));
    std::iota(indices.begin(), indices.end(), arguments.first + done);
    MH_TRY(const std::vector<float> outputs, ready.engine->outputs(*ready.samples, indices));
    const std::size_t width = outputs.size() / indices.size();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const auto output = std::span(outputs).subspan(i * width, width);
      if (!has_classes) {
        MH_TRY_VOID(
            report_numbers(model, *ready.samples, indices[i], output, arguments.wants_json));
        continue;
      }
      MH_TRY(const bool is_right,
             report_classes(model, *ready.samples, indices[i], output, arguments.wants_json));
      right += is_right ? 1 : 0;
    }
  }
  if (has_classes && !arguments.wants_json) {
    std::printf("%" PRIu64 " of %" PRIu64 " right\n", right, count);
  }
  return kExitDone;
}

}  // namespace

void define_predict(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb =
      add_verb(app, "predict", "Let a trained model guess samples, beside the truth",
               "manyhands-trainer predict model.safetensors --data data/digits --count 5");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("model", arguments->model, "The model (from 'manyhands model download')")
      ->required();
  add_data_option(*verb, arguments->data);
  verb->add_option("--split", arguments->split, "Split of the data set")->capture_default_str();
  verb->add_option("--first", arguments->first, "First sample of the split")->capture_default_str();
  verb->add_option("--count", arguments->count, "Number of samples")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add_device_option(*verb, arguments->device);
  verb->add_flag("--json", arguments->wants_json, "Print one JSON object a sample");
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
