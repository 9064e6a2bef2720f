// Attempts on other processes, and on becoming more than one.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

int result_of(long returned) { return returned < 0 ? errno : kSucceeded; }

pid_t victim(const Targets& targets) { return static_cast<pid_t>(targets.number("victim_pid")); }

int trace(const Targets& targets) {
  if (::ptrace(PTRACE_SEIZE, victim(targets), nullptr, nullptr) != 0) return errno;
  ::ptrace(PTRACE_INTERRUPT, victim(targets), nullptr, nullptr);
  ::waitpid(victim(targets), nullptr, __WALL);
  ::ptrace(PTRACE_DETACH, victim(targets), nullptr, nullptr);
  return kSucceeded;
}

int read_memory(const Targets& targets) {
  std::array<char, 8> bytes{};
  const iovec local{bytes.data(), bytes.size()};
  const iovec remote{reinterpret_cast<void*>(targets.number("victim_address")), bytes.size()};
  return result_of(::process_vm_readv(victim(targets), &local, 1, &remote, 1, 0));
}

int write_memory(const Targets& targets) {
  std::array<char, 8> bytes = {'s', 'e', 'c', 'r', 'e', 't', '-', '1'};
  const iovec local{bytes.data(), bytes.size()};
  const iovec remote{reinterpret_cast<void*>(targets.number("victim_address")), bytes.size()};
  return result_of(::process_vm_writev(victim(targets), &local, 1, &remote, 1, 0));
}

int steal_descriptor(const Targets& targets) {
  const long process = ::syscall(SYS_pidfd_open, victim(targets), 0);
  if (process < 0) return errno;
  return result_of(::syscall(SYS_pidfd_getfd, process, 0, 0));
}

int change_limit(const Targets& targets) {
  rlimit limit{};
  if (::prlimit(victim(targets), RLIMIT_CORE, nullptr, &limit) != 0) return errno;
  return result_of(::prlimit(victim(targets), RLIMIT_CORE, &limit, nullptr));
}

int raise_own_limit(const Targets&) {
  rlimit limit{};
  ::getrlimit(RLIMIT_RTPRIO, &limit);
  limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
  return result_of(::setrlimit(RLIMIT_RTPRIO, &limit));
}

int attach_memory(const Targets& targets) {
  const long address = reinterpret_cast<long>(
      ::shmat(static_cast<int>(targets.number("victim_shm")), nullptr, SHM_RDONLY));
  return address == -1 ? errno : kSucceeded;
}

int fork_once(const Targets&) {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return kSucceeded;
}

int read_secret(const Targets&) {
  return std::getenv("MANYHANDS_TEST_SECRET") == nullptr ? ENOENT : kSucceeded;
}

int find_descriptor(const Targets&) {
  for (int file = STDERR_FILENO + 1; file < 256; ++file) {
    if (::fcntl(file, F_GETFD) >= 0) return kSucceeded;
  }
  return EBADF;
}

int take_real_time(const Targets&) {
  sched_param parameters{.sched_priority = 1};
  if (::sched_setscheduler(0, SCHED_FIFO, &parameters) != 0) return errno;
  parameters.sched_priority = 0;
  ::sched_setscheduler(0, SCHED_OTHER, &parameters);
  return kSucceeded;
}

int take_processors(const Targets&) {
  cpu_set_t all;
  ::memset(&all, 0xFF, sizeof all);
  return result_of(::sched_setaffinity(0, sizeof all, &all));
}

constexpr std::array kAttempts = {
    Attempt{"read a secret in the environment", read_secret},
    Attempt{"find an open descriptor", find_descriptor},
    Attempt{"signal the daemon",
            [](const Targets& t) { return result_of(::kill(victim(t), SIGURG)); }},
    Attempt{"trace the daemon", trace},
    Attempt{"read the daemon's memory", read_memory},
    Attempt{"write the daemon's memory", write_memory},
    Attempt{"steal a descriptor of the daemon", steal_descriptor},
    Attempt{"change the daemon's limits", change_limit},
    Attempt{"raise its own limits", raise_own_limit},
    Attempt{"attach the daemon's shared memory", attach_memory},
    Attempt{"make shared memory that outlives it",
            [](const Targets&) {
              const int made = ::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
              if (made < 0) return errno;
              ::shmctl(made, IPC_RMID, nullptr);
              return kSucceeded;
            }},
    Attempt{"become two processes", fork_once},
    Attempt{"leave the process group", [](const Targets&) { return result_of(::setsid()); }},
    Attempt{"take a higher priority",
            [](const Targets&) { return result_of(::setpriority(PRIO_PROCESS, 0, -5)); }},
    Attempt{"take real-time priority", take_real_time},
    Attempt{"take all processors", take_processors},
};

}  // namespace

std::span<const Attempt> process_attempts() { return kAttempts; }

}  // namespace mh::hostile
