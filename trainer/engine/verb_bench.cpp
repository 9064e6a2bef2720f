// `manyhands-trainer bench`: is the trainer faster than the loop one would write first? See
// bench.h.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "proto/base/file.h"
#include "proto/base/options.h"
#include "trainer/engine/bench.h"
#include "trainer/engine/job_files.h"
#include "trainer/engine/pinned.h"
#include "trainer/engine/program.h"
#include "trainer/model/presets.h"
#include "trainer/update/sample_reader.h"

namespace mh::engine {
namespace {

struct Arguments {
  std::string job;
  std::string data;
  std::string only;
  std::string device = "cpu";
  double seconds = 20;
  bool wants_json = false;
};

/// Fashion-MNIST's samples, for a bench without a data set.
model::SampleInfo default_samples() {
  model::SampleInfo info;
  info.input_shape = {28, 28};
  info.input_is_integer = true;
  info.target_is_integer = true;
  info.class_count = 10;
  return info;
}

Result<BenchOptions> bench_options(const Arguments& arguments) {
  BenchOptions options;
  model::ModelSpec model{model::cnn_layers({}), model::Loss::kCrossEntropy};
  if (!arguments.job.empty()) {
    MH_TRY(const std::string text, read_file(arguments.job, scheduler::kJobTextBytesMax));
    MH_TRY(const scheduler::JobSpec spec, parse_job_text(text, arguments.job));
    MH_TRY_VOID(start_again_if_pinned(spec));
    model = spec.model;
    options.job.seed = spec.seed;
    options.job.micro_batch = static_cast<std::uint32_t>(spec.training.micro_batch);
    options.shard = spec.training.shard;
    options.threads = static_cast<int>(spec.threads);
  }
  model::SampleInfo samples = default_samples();
  if (!arguments.data.empty()) {
    MH_TRY(const update::DataFolder folder, update::open_data_folder(arguments.data));
    samples = scheduler::sample_info(folder.manifest);
  }
  Result<model::ModelPlan> plan = model::plan_model(model, samples);
  if (!plan) {
    return fail(
        Errc::kInvalidArgument,
        plan.error().message + (arguments.data.empty()
                                    ? " (without --data, samples are 28×28 bytes of 10 classes)"
                                    : ""));
  }
  options.job.plan = std::move(*plan);
  options.device = arguments.device;
  options.seconds = arguments.seconds;
  options.with_trainer = arguments.only != "plain";
  options.with_plain = arguments.only != "trainer";
  return options;
}

Result<int> run(const Arguments& arguments) {
  MH_TRY(const BenchOptions options, bench_options(arguments));
  MH_TRY(const BenchOutcome outcome, measure(options));
  const auto& trainer = outcome.trainer_samples_per_second;
  const auto& plain = outcome.plain_samples_per_second;
  nlohmann::ordered_json json = {{"parameters", options.job.plan.parameter_count},
                                 {"micro_batch", options.job.micro_batch},
                                 {"threads", options.threads}};
  if (trainer) json["trainer_samples_per_second"] = *trainer;
  if (plain) json["plain_samples_per_second"] = *plain;
  if (trainer && plain) json["ratio"] = *trainer / *plain;
  if (arguments.wants_json) {
    std::printf("%s\n", json.dump().c_str());
    return kExitDone;
  }
  if (trainer) std::printf("trainer     %9.0f samples/s\n", *trainer);
  if (plain) std::printf("plain loop  %9.0f samples/s\n", *plain);
  if (trainer && plain) std::printf("ratio       %9.2f\n", *trainer / *plain);
  return kExitDone;
}

}  // namespace

void define_bench(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb = add_verb(
      app, "bench", "Samples per second of the trainer and of a plain LibTorch loop, in turns",
      "manyhands-trainer bench --job job.yaml --seconds 20 --json");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option(
      "--job", arguments->job,
      "Job file whose model, shard and micro-batch are measured (default: preset cnn)");
  verb->add_option("--data", arguments->data,
                   "Folder of a data set, for the shape of samples (default: as Fashion-MNIST)");
  verb->add_option("--only", arguments->only, "Measure one of them only: trainer or plain")
      ->check(CLI::IsMember({"trainer", "plain"}));
  verb->add_option("--seconds", arguments->seconds, "Seconds of measuring, in all")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  add_device_option(*verb, arguments->device);
  verb->add_flag("--json", arguments->wants_json, "Print a JSON object");
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
