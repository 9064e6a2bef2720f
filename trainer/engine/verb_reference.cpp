// `manyhands-trainer reference`: a job alone; see reference.h.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "proto/base/file.h"
#include "proto/base/options.h"
#include "trainer/engine/model_file.h"
#include "trainer/engine/pinned.h"
#include "trainer/engine/program.h"
#include "trainer/engine/reference.h"

namespace mh::engine {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string job;
  std::vector<std::string> data;
  std::string device = "cpu";
  std::uint64_t steps = std::numeric_limits<std::uint64_t>::max();
  std::string digests;
  std::string output;
  bool wants_json = false;
};

/// What is shown and kept of the steps.
class Report {
 public:
  Report(const LoadedJob& job, bool wants_json)
      : has_classes_(job.files().plan.loss == model::Loss::kCrossEntropy),
        wants_json_(wants_json) {}

  void add(const ReferenceStep& step) {
    digest_lines_ += std::to_string(step.step) + " " + step.parameters_digest.hex() + "\n";
    // The first step also pays for what is set up once.
    if (step.step > 1) milliseconds_ += step.milliseconds;
    last_ = step;
    if (wants_json_) {
      Json json = {{"step", step.step},
                   {"loss", step.loss},
                   {"gradient_norm", step.gradient_norm},
                   {"learning_rate", step.learning_rate},
                   {"milliseconds", step.milliseconds},
                   {"parameters_digest", step.parameters_digest.hex()}};
      if (has_classes_) json["accuracy"] = step.accuracy;
      std::printf("%s\n", json.dump().c_str());
      return;
    }
    std::printf("step %-6" PRIu64 " loss %-11.9g ", step.step, step.loss);
    if (has_classes_) std::printf("accuracy %.4f ", step.accuracy);
    std::printf(" %s\n", step.parameters_digest.hex().c_str());
    std::fflush(stdout);
  }

  void finish(const ReferenceOutcome& outcome, const std::string& split) const {
    const std::uint64_t counted = outcome.steps_done > 1 ? outcome.steps_done - 1 : 1;
    const double each = (outcome.steps_done > 1 ? milliseconds_ : last_.milliseconds) /
                        static_cast<double>(counted);
    Json json = {{"steps", outcome.steps_done},
                 {"loss", last_.loss},
                 {"milliseconds_per_step", each},
                 {"parameters_digest", last_.parameters_digest.hex()}};
    if (!wants_json_) std::printf("%.2f ms a step\n", each);
    if (outcome.evaluation) {
      const auto count = static_cast<double>(outcome.evaluation->sample_count);
      const double loss = outcome.evaluation->loss_sum / count;
      json["evaluation"] = {
          {"split", split}, {"samples", outcome.evaluation->sample_count}, {"loss", loss}};
      if (!wants_json_) std::printf("%s: loss %.9g", split.c_str(), loss);
      if (has_classes_) {
        const double accuracy = static_cast<double>(outcome.evaluation->correct_count) / count;
        json["evaluation"]["accuracy"] = accuracy;
        if (!wants_json_) std::printf(", accuracy %.4f", accuracy);
      }
      if (!wants_json_) std::printf("\n");
    }
    if (wants_json_) std::printf("%s\n", json.dump().c_str());
  }

  const std::string& digest_lines() const { return digest_lines_; }

 private:
  const bool has_classes_;
  const bool wants_json_;
  std::string digest_lines_;
  ReferenceStep last_;
  double milliseconds_ = 0;
};

// Whether a file could be written here later; creates nothing.
Status check_writable(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return fail(Errc::kInvalidArgument, path.string() + " is a folder, not a file");
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return fail(Errc::kInvalidArgument, "cannot write " + path.string() + ": " + folder.string() +
                                            ": " + std::generic_category().message(errno));
  return {};
}

Result<int> run(const Arguments& arguments) {
  keep_freed_memory();
  // Hours may pass before these are written.
  for (const std::string& path : {arguments.digests, arguments.output}) {
    if (!path.empty()) MH_TRY_VOID(check_writable(path));
  }
  MH_TRY(JobFiles files, read_job_files(arguments.job, arguments.data));
  MH_TRY_VOID(start_again_if_pinned(files.spec));
  const int threads = static_cast<int>(files.spec.threads);
  MH_TRY(const Device device, open_device(arguments.device, threads));
  if (!device.note.empty()) {
    std::fprintf(stderr, "manyhands-trainer: on the CPU: %s\n", device.note.c_str());
  }
  // Nobody has checked the folder's chunks yet.
  MH_TRY(const std::unique_ptr<LoadedJob> job,
         LoadedJob::load(std::move(files), device, threads, update::ChunkCheck::kDigest));
  Report report(*job, arguments.wants_json);
  const Result<ReferenceOutcome> outcome =
      run_reference(*job, arguments.steps, [&](const ReferenceStep& step) { report.add(step); });
  if (!arguments.digests.empty()) {
    // Also after an error: the steps up to it are worth comparing.
    MH_TRY_VOID(write_file_atomically(arguments.digests, report.digest_lines()));
  }
  if (!outcome) {
    Error error = outcome.error();
    if (error.code == Errc::kOutOfRange)
      error.code = Errc::kInternal;  // It failed; nothing was mistyped.
    return error;
  }
  const scheduler::JobSpec& spec = job->files().spec;
  report.finish(*outcome, spec.evaluation ? spec.evaluation->split : "");
  if (!arguments.output.empty()) {
    MH_TRY_VOID(write_model_file(arguments.output, job->files(), outcome->parameters));
  }
  return kExitDone;
}

}  // namespace

void define_reference(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb = add_verb(
      app, "reference",
      "Run a whole job alone; after every step print the SHA-256 of its parameters, which is what "
      "the server's must be",
      "manyhands-trainer reference job.yaml --data data/digits --steps 40 --digests alone.txt");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("job", arguments->job, "The job file (YAML)")->required();
  add_data_option(*verb, arguments->data);
  add_device_option(*verb, arguments->device);
  verb->add_option("--steps", arguments->steps,
                   "Stop after so many steps (default: all of the job)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--digests", arguments->digests,
                   "Write a line '<step> <digest>' for each step to this file");
  verb->add_option("--output", arguments->output, "Write the model to this file (safetensors)");
  verb->add_flag("--json", arguments->wants_json, "Print one JSON object a step, then a summary");
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
