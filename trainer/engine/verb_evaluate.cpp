// `manyhands-trainer evaluate`: loss and accuracy of a model over a whole split.
#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "proto/base/options.h"
#include "trainer/engine/model_file.h"
#include "trainer/engine/program.h"

namespace mh::engine {
namespace {

struct Arguments {
  std::string model;
  std::vector<std::string> data;
  std::string split = "test";
  std::string device = "cpu";
  bool wants_json = false;
};

Result<int> run(const Arguments& arguments) {
  MH_TRY(const OpenModel open,
         open_model(arguments.model, arguments.data, arguments.split, arguments.device));
  const ModelOnData& model = open.model;
  const ReadyModel& ready = open.ready;
  MH_TRY(const Sums sums, ready.engine->evaluate(*ready.samples, 0, ready.samples->count()));
  const auto count = static_cast<double>(sums.sample_count);
  const double loss = sums.loss_sum / count;
  const double accuracy = static_cast<double>(sums.correct_count) / count;
  const bool has_classes = model.plan.loss == model::Loss::kCrossEntropy;
  if (arguments.wants_json) {
    nlohmann::ordered_json json = {
        {"split", arguments.split}, {"samples", sums.sample_count}, {"loss", loss}};
    if (has_classes) {
      json["correct"] = sums.correct_count;
      json["accuracy"] = accuracy;
    }
    std::printf("%s\n", json.dump().c_str());
    return kExitDone;
  }
  std::printf("%s, %" PRIu64 " samples: loss %.6f", arguments.split.c_str(), sums.sample_count,
              loss);
  if (has_classes) std::printf(", accuracy %.4f (%" PRIu64 " right)", accuracy, sums.correct_count);
  std::printf("\n");
  return kExitDone;
}

}  // namespace

void define_evaluate(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb = add_verb(app, "evaluate", "Loss and accuracy of a trained model over a split",
                            "manyhands-trainer evaluate model.safetensors --data data/digits");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("model", arguments->model, "The model (from 'manyhands model download')")
      ->required();
  add_data_option(*verb, arguments->data);
  verb->add_option("--split", arguments->split, "Split of the data set")->capture_default_str();
  add_device_option(*verb, arguments->device);
  verb->add_flag("--json", arguments->wants_json, "Print a JSON object");
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
