// See trainer_sandbox.h.
#include "client/daemon/trainer_sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "client/daemon/daemon.h"
#include "client/daemon/host_description.h"
#include "proto/base/file.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::chrono::seconds kProbeMax(30);
constexpr std::size_t kProbeBytesMax = 64 * 1024;
// Beside the cache, that is mapped: LibTorch (1.3 GB), stacks, arenas.
constexpr std::uint64_t kMappedSlackBytes = 8'000'000'000;

// Three quarters of this computer's.
std::uint64_t default_trainer_memory() {
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return pages * page_bytes / 4 * 3;
}

Result<fs::path> find_launcher() {
  std::error_code error;
  const char* named = std::getenv("MANYHANDS_SANDBOX");
  const fs::path path =
      named != nullptr && *named != '\0'
          ? fs::path(named)
          : fs::read_symlink("/proc/self/exe", error).parent_path() / "manyhands-sandbox";
  if (::access(path.c_str(), X_OK) == 0) return fs::absolute(path, error);
  return fail(Errc::kNotFound, "no sandbox program at " + path.string() +
                                   ": install manyhands-sandbox beside this program, or give "
                                   "--sandbox off to run the trainer without a sandbox");
}

// Standard output of `launcher probe`.
Result<std::string> run_probe(const fs::path& launcher) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("cannot make", "a pipe", errno);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
  std::string program = launcher.string();
  std::string verb = "probe";
  std::array<char*, 3> arguments = {program.data(), verb.data(), nullptr};
  pid_t child = 0;
  const int code =
      ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return errno_error("cannot run", launcher, code);
  write_end.reset();
  std::string text;
  const auto deadline = std::chrono::steady_clock::now() + kProbeMax;
  while (text.size() < kProbeBytesMax) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{.fd = read_end.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) {
      ::kill(child, SIGKILL);
      break;
    }
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(read_end.get(), bytes.data(), bytes.size());
    if (count <= 0) break;
    text.append(bytes.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::kInternal, launcher.string() + " probe did not end well");
  return text;
}

}  // namespace

Result<TrainerSandbox> TrainerSandbox::open(const sandbox::Policy& policy) {
  TrainerSandbox made;
  made.policy_ = policy;
  if (!policy.is_on) return made;
  MH_TRY(made.launcher_, find_launcher());
  MH_TRY(const std::string text, run_probe(made.launcher_));
  MH_TRY(made.available_, sandbox::parse_available(text));
  std::string lacking;
  for (const auto& missing : made.available_.missing) {
    if (!policy.required.has(missing.layer)) continue;
    lacking += (lacking.empty() ? "" : "; ") + std::string(sandbox::layer_name(missing.layer)) +
               " (" + missing.why + ")";
  }
  if (!lacking.empty())
    return fail(
        Errc::kFailedPrecondition,
        "this computer cannot give the trainer the sandbox that --sandbox requires: " + lacking);
  return made;
}

TrainerCommand TrainerSandbox::enclose(const TrainerCommand& trainer,
                                       const TrainerRoom& room) const {
  if (!policy_.is_on) return trainer;
  TrainerCommand command = trainer;
  command.program = launcher_;
  command.arguments = {"run",
                       "--layers",
                       available_.layers.text(),
                       "--input",
                       room.input.string(),
                       "--output",
                       room.output.string(),
                       "--memory-bytes",
                       std::to_string(room.memory_bytes),
                       "--mapped-bytes",
                       std::to_string(room.mapped_bytes),
                       "--file-bytes",
                       std::to_string(room.file_bytes),
                       "--threads",
                       std::to_string(room.threads)};
  std::error_code error;
  if (room.wants_gpu && fs::exists("/dev/nvidiactl", error)) command.arguments.push_back("--gpu");
  command.arguments.push_back("--");
  command.arguments.push_back(trainer.program.string());
  command.arguments.insert(command.arguments.end(), trainer.arguments.begin(),
                           trainer.arguments.end());
  return command;
}

std::string TrainerSandbox::sentence() const {
  if (!policy_.is_on) return "off: the trainer runs with your rights";
  if (available_.missing.empty()) return "all layers";
  std::string text = available_.layers.text() + "; missing: ";
  bool is_first = true;
  for (const auto& missing : available_.missing)
    text += (std::exchange(is_first, false) ? "" : ", ") +
            std::string(sandbox::layer_name(missing.layer)) + " (" + missing.why + ")";
  return text;
}

Json TrainerSandbox::json() const {
  Json missing = Json::array();
  for (const auto& one : available_.missing)
    missing.push_back({{"layer", sandbox::layer_name(one.layer)}, {"why", one.why}});
  return {{"on", policy_.is_on},
          {"layers", available_.layers.names()},
          {"missing", std::move(missing)},
          {"notes", available_.notes},
          {"sentence", sentence()}};
}

TrainerCommand trainer_command(const DaemonOptions& options, const TrainerSandbox& sandbox) {
  const std::uint32_t threads = options.threads == 0 ? cpu_count() : options.threads;
  const TrainerCommand trainer = {
      .program = options.trainer,
      .arguments = {"serve", "--device", options.device, "--threads", std::to_string(threads)},
      .nice_increment = options.nice_increment,
      .is_idle_class = options.is_idle_class};
  const TrainerRoom room = {.input = options.folder.cache(),
                            .output = options.folder.out(),
                            .memory_bytes = options.memory_bytes_max == 0
                                                ? default_trainer_memory()
                                                : options.memory_bytes_max,
                            .mapped_bytes = options.cache_bytes_max + kMappedSlackBytes,
                            .file_bytes = options.undelivered_bytes_max,
                            .threads = threads,
                            .wants_gpu = options.device != "cpu"};
  return sandbox.enclose(trainer, room);
}

}  // namespace mh::client
