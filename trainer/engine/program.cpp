// The command line of manyhands-trainer; see program.h.
#include "trainer/engine/program.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "proto/base/build_info.h"
#include "proto/base/options.h"

namespace mh::engine {
namespace {

/// MKL may otherwise take fewer threads than the job says, which changes bits. It reads this at its
/// first use.
void fix_environment() {
  ::setenv("MKL_DYNAMIC", "FALSE", /*overwrite=*/1);
  ::setenv("OMP_NUM_THREADS", "1", /*overwrite=*/1);
  ::setenv("MKL_NUM_THREADS", "1", /*overwrite=*/1);
}

}  // namespace

CLI::App* add_verb(CLI::App& app, const char* name, const char* what, const char* example) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->footer(std::string("Example:\n  ") + example +
               "\n\nExit codes: 0 done; 1 the thing asked about failed; 2 wrong usage or input;\n"
               "3 it cannot be reached or is not allowed.");
  return verb;
}

void add_device_option(CLI::App& verb, std::string& device) {
  verb.add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
}

void add_data_option(CLI::App& verb, std::vector<std::string>& data) {
  verb.add_option("--data", data,
                  "Folder of the data set (from 'manyhands dataset import --to-dir'); NAME=FOLDER "
                  "where several are given")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->required();
}

int run_trainer(int argc, const char* const* argv) {
  fix_environment();
  CLI::App app("manyhands-trainer: computes what volunteers compute, without a network",
               "manyhands-trainer");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  manyhands-trainer reference job.yaml --data data/digits\n\n"
      "Every command has --help.");
  VerbRun chosen;
  constexpr VerbDefinition kVerbs[] = {define_reference, define_gradient, define_predict,
                                       define_evaluate,  define_bench,    define_serve};
  for (const VerbDefinition define : kVerbs) define(app, chosen);
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  const Result<int> outcome = chosen();
  std::fflush(stdout);
  if (outcome) return *outcome;
  const Error& error = outcome.error();
  std::fprintf(stderr, "manyhands-trainer: %s\n", error.message.c_str());
  // Everything that can be missing here was named on the command line.
  return error.code == Errc::kNotFound ? kExitUsage : exit_code_of(error);
}

}  // namespace mh::engine
