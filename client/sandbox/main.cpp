// manyhands-sandbox: builds the sandbox and becomes the trainer in it. The daemon starts it in the
// trainer's place; `probe` is for the daemon and for the curious.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "client/sandbox/launch.h"
#include "client/sandbox/probe.h"
#include "proto/base/build_info.h"
#include "proto/base/options.h"

namespace {

namespace sandbox = mh::sandbox;

// What the command line said.
struct Arguments {
  std::string layers = "all";
  sandbox::Plan plan;
  std::string program;
};

void define_run(CLI::App& app, Arguments& arguments) {
  sandbox::Plan& plan = arguments.plan;
  plan.limits = {.memory_bytes = std::uint64_t{4} << 30,
                 .mapped_bytes = std::uint64_t{16} << 30,
                 .file_bytes = std::uint64_t{1} << 30,
                 .threads = 1};
  app.add_option("--layers", arguments.layers, "Layers to apply: all, none or a list")
      ->capture_default_str();
  app.add_option("--input", plan.input, "Folder that may be read");
  app.add_option("--output", plan.output, "Folder whose files may be written");
  app.add_option("--memory-bytes", plan.limits.memory_bytes, "Private memory")
      ->capture_default_str();
  app.add_option("--mapped-bytes", plan.limits.mapped_bytes, "Mapped files beside it")
      ->capture_default_str();
  app.add_option("--file-bytes", plan.limits.file_bytes, "Largest file")->capture_default_str();
  app.add_option("--threads", plan.limits.threads, "Threads that compute")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_flag("--gpu", plan.has_gpu, "Let in the NVIDIA driver's devices and libraries");
  app.add_option("program", arguments.program, "The program to run")->required();
  app.add_option("arguments", plan.arguments, "Its arguments; -- before the program");
}

int run(Arguments& arguments) {
  const auto layers = sandbox::parse_layers(arguments.layers);
  if (!layers.has_value()) {
    std::cerr << "manyhands-sandbox: " << layers.error().message << "\n";
    return mh::kExitUsage;
  }
  arguments.plan.layers = *layers;
  std::error_code error;
  arguments.plan.program = std::filesystem::absolute(arguments.program, error);
  sandbox::launch(arguments.plan);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("manyhands-sandbox: runs the trainer with nothing in reach but its work",
               "manyhands-sandbox");
  app.set_version_flag("--version", std::string(mh::kVersion));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  manyhands-sandbox probe\n"
      "  manyhands-sandbox run --input cache --output out -- manyhands-trainer serve\n\n"
      "Exit codes: those of the program; 125 the sandbox cannot be built; 2 wrong usage.");
  Arguments arguments;
  CLI::App* run_verb = app.add_subcommand("run", "Run a program in the sandbox");
  define_run(*run_verb, arguments);
  CLI::App* probe_verb = app.add_subcommand("probe", "Say which layers this machine grants");
  // What `probe` runs inside each layer.
  app.add_subcommand("nothing", "End at once")->group("");
  if (const auto code = mh::parse_command_line(app, argc, argv)) return *code;
  if (*run_verb) return run(arguments);
  if (*probe_verb)
    std::cout << available_text(sandbox::probe(std::filesystem::read_symlink("/proc/self/exe")));
  return mh::kExitDone;
}
