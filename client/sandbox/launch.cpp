// See launch.h.
#include "client/sandbox/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "client/sandbox/doors.h"
#include "client/sandbox/landlock.h"
#include "client/sandbox/libraries.h"
#include "client/sandbox/limits.h"
#include "client/sandbox/namespaces.h"
#include "client/sandbox/private_root.h"
#include "client/sandbox/syscalls.h"
#include "proto/base/file.h"
#include "proto/base/numerics.h"

namespace mh::sandbox {
namespace {

namespace fs = std::filesystem;

// First in line when memory runs out, before anything of the volunteer's own.
constexpr const char* kOomScore = "900";

[[noreturn]] void give_up(const Error& error) {
  std::fprintf(stderr, "manyhands-sandbox: %s\n", error.message.c_str());
  std::fflush(stderr);
  ::_exit(kExitNoSandbox);
}

void require(const Status& status) {
  if (!status.has_value()) give_up(status.error());
}

void add_if_there(std::vector<Door>& doors, const fs::path& path, Door::Use use) {
  std::error_code error;
  if (fs::exists(path, error)) doors.push_back({path, use});
}

// The NVIDIA driver opens its libraries by name, wherever the distribution has put them.
void add_gpu_doors(std::vector<Door>& doors, const std::vector<fs::path>& libraries) {
  for (const char* folder : {"/usr/lib", "/usr/lib64", "/lib", "/lib64"})
    add_if_there(doors, folder, Door::Use::kExecute);
  for (const fs::path& library : libraries) {
    if (library.filename() != "libtorch_cpu.so") continue;
    const fs::path torch = library.parent_path();
    add_if_there(doors, torch, Door::Use::kExecute);
    add_if_there(doors, torch.parent_path().parent_path() / "nvidia", Door::Use::kExecute);
  }
  add_if_there(doors, "/sys", Door::Use::kRead);
  doors.push_back({"/proc", Door::Use::kProc});
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("nvidia") && entry.is_character_file(error))
      doors.push_back({entry.path(), Door::Use::kDevice});
  }
}

Result<std::vector<Door>> doors_of(const Plan& plan) {
  std::vector<Door> doors;
  MH_TRY(const std::vector<fs::path> libraries, libraries_of(plan.program));
  doors.push_back({plan.program, Door::Use::kExecute});
  if (plan.has_gpu) {
    add_gpu_doors(doors, libraries);
  } else {
    // How many processors and of which kind: ATen chooses its code by them.
    add_if_there(doors, "/proc/cpuinfo", Door::Use::kRead);
    add_if_there(doors, "/sys/devices/system/cpu", Door::Use::kRead);
    add_if_there(doors, "/sys/devices/system/node", Door::Use::kRead);
  }
  for (const fs::path& library : libraries) doors.push_back({library, Door::Use::kExecute});
  add_if_there(doors, "/etc/ld.so.cache", Door::Use::kRead);
  // Not /dev/zero: to map it is to take memory that no limit counts.
  for (const char* device : {"/dev/null", "/dev/urandom"})
    add_if_there(doors, device, Door::Use::kDevice);
  if (!plan.input.empty()) doors.push_back({plan.input, Door::Use::kRead});
  if (!plan.output.empty()) doors.push_back({plan.output, Door::Use::kWrite});
  return doors;
}

// What the trainer reads from its environment, and what keeps the driver from writing files.
std::vector<std::string> environment_of(const Plan& plan) {
  std::vector<std::string> names = {"MANYHANDS_KILL_POINT"};
  for (const auto& [name, value] : kPinnedEnvironment) names.emplace_back(name);
  if (plan.has_gpu) names.emplace_back("CUDA_VISIBLE_DEVICES");
  std::vector<std::string> variables = {"PATH=", "HOME=/", "LC_ALL=C.UTF-8"};
  if (plan.has_gpu) variables.emplace_back("CUDA_CACHE_DISABLE=1");
  for (const std::string& name : names) {
    if (const char* value = std::getenv(name.c_str())) variables.push_back(name + "=" + value);
  }
  return variables;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void become_program(const Plan& plan) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<std::string> words = {plan.program.string()};
  words.insert(words.end(), plan.arguments.begin(), plan.arguments.end());
  const std::vector<char*> arguments = pointers_to(words);
  std::vector<std::string> variables = environment_of(plan);
  const std::vector<char*> cleaned = pointers_to(variables);
  char* const* environment =
      plan.layers.has(Layer::kEnvironment) ? cleaned.data() : static_cast<char* const*>(environ);
  if (plan.layers.has(Layer::kSeccomp)) require(apply_syscall_list(plan.has_gpu));
  ::execve(words.front().c_str(), arguments.data(), environment);
  give_up(errno_error("cannot run", plan.program, errno));
}

void let_go_of_pipes() {
  ::close(STDIN_FILENO);
  ::close(STDOUT_FILENO);
}

// Waits for `child`, and for whatever else has lost its parent meanwhile. 128 + N: ended by signal
// N.
int wait_for(pid_t child) {
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) return kExitNoSandbox;
    if (ended != child) continue;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

// The first process inside. `outside` is the read end of a pipe whose other end the process outside
// holds: if that one died before PR_SET_PDEATHSIG took effect, the pipe is broken.
[[noreturn]] void be_first(const Plan& plan, const std::vector<Door>& doors, int outside) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd end{.fd = outside, .events = 0, .revents = 0};
  if (::poll(&end, 1, 0) != 0) ::_exit(kExitNoSandbox);
  ::close(outside);
  if (plan.layers.has(Layer::kLimits) && plan.layers.has(Layer::kPid)) limit_process_numbers(plan);
  if (plan.layers.has(Layer::kMount)) require(enter_private_root(doors));
  if (plan.layers.has(Layer::kLimits)) require(apply_limits(plan));
  if (plan.layers.has(Layer::kPrivileges)) require(drop_privileges());
  // Nobody may be filtered who could still run a setuid program.
  if (plan.layers.has(Layer::kLandlock) || plan.layers.has(Layer::kSeccomp))
    require(forgo_new_privileges());
  if (plan.layers.has(Layer::kLandlock)) require(apply_landlock(doors));
  const pid_t child = ::fork();
  if (child < 0) give_up(errno_error("cannot fork for", plan.program, errno));
  if (child == 0) become_program(plan);
  let_go_of_pipes();
  ::prctl(PR_SET_DUMPABLE, 0);
  if (plan.layers.has(Layer::kSeccomp)) require(apply_waiting_list());
  ::_exit(wait_for(child));
}

// Ends as the program did, so that the daemon sees it as its own child's end.
[[noreturn]] void end_like(int code) {
  if (code > 128) {
    ::signal(code - 128, SIG_DFL);
    ::kill(::getpid(), code - 128);
  }
  ::_exit(code);
}

}  // namespace

void launch(const Plan& plan) {
  const pid_t parent = ::getppid();
  const auto doors = doors_of(plan);
  if (!doors.has_value()) give_up(doors.error());
  std::array<int, 2> alive{};
  if (::pipe2(alive.data(), O_CLOEXEC) != 0) give_up(errno_error("cannot make", "a pipe", errno));
  if (const UniqueFd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
      score.is_open())
    (void)!::write(score.get(), kOomScore, 3);
  require(enter_namespaces(plan.layers));
  // Entering a user namespace may have cleared what the daemon set.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitNoSandbox);
  const pid_t first = ::fork();
  if (first < 0) give_up(errno_error("cannot fork for", plan.program, errno));
  if (first == 0) {
    ::close(alive[1]);
    be_first(plan, *doors, alive[0]);
  }
  let_go_of_pipes();
  ::prctl(PR_SET_DUMPABLE, 0);
  end_like(wait_for(first));
}

bool try_launch(const Plan& plan, std::string& said) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    ::dup2(write_end.get(), STDERR_FILENO);
    launch(plan);
  }
  write_end.reset();
  std::array<char, 512> bytes{};
  const ssize_t count = ::read(read_end.get(), bytes.data(), bytes.size());
  said.assign(bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace mh::sandbox
