// `manyhands-trainer serve`: frames on standard input and output; see serve.h.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>

#include "proto/base/file.h"
#include "trainer/engine/device.h"
#include "trainer/engine/program.h"
#include "trainer/engine/serve.h"

namespace mh::engine {
namespace {

/// What open_device() takes; a host may well have more.
constexpr int kThreadsMax = 1'024;

struct Arguments {
  std::string device = "auto";
  int threads = 1;
};

Result<int> run(const Arguments& arguments) {
  keep_freed_memory();
  // A daemon that is gone is an error of write(2), not a signal.
  ::signal(SIGPIPE, SIG_IGN);
  MH_TRY(const Device device,
         open_device(arguments.device, std::min(arguments.threads, kThreadsMax)));
  // Whatever a library prints must not get between the frames.
  const UniqueFd frames(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!frames.is_open() || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    return errno_error("cannot duplicate", "standard output", errno);
  }
  return serve(STDIN_FILENO, frames.get(), device);
}

}  // namespace

void define_serve(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb =
      add_verb(app, "serve", "Compute workunits for the daemon that starts this (frames on stdin)",
               "manyhands-trainer serve --device auto --threads 4");
  const auto arguments = std::make_shared<Arguments>();
  add_device_option(*verb, arguments->device);
  verb->add_option("--threads", arguments->threads,
                   "Most CPU threads that a job may compute with; each job says how many it needs")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
