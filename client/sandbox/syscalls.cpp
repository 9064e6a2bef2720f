// See syscalls.h.
#include "client/sandbox/syscalls.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <span>

#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

struct Release {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, Release>;

// Memory, time, files that exist, waiting for each other; nothing that reaches beyond the process.
constexpr std::array kAllowed = {
    // memory
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(msync), SCMP_SYS(mincore), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(mbind),
    SCMP_SYS(get_mempolicy), SCMP_SYS(set_mempolicy), SCMP_SYS(membarrier),
    // files and pipes that are open, or exist (openat and fcntl are below)
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write),
    SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(close),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx),
    SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64),
    SCMP_SYS(getcwd), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(ftruncate),
    SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(fadvise64), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(select), SCMP_SYS(pselect6),
    // time
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(nanosleep), SCMP_SYS(time),
    // threads of this process (clone is below)
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list),
    SCMP_SYS(set_tid_address), SCMP_SYS(rseq), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(getcpu), SCMP_SYS(gettid),
    SCMP_SYS(arch_prctl), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(pause),
    // its own signals
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    // what it may know about itself and the machine
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(uname),
    SCMP_SYS(sysinfo), SCMP_SYS(getrandom),
    // becoming the program; nothing else that could be executed is within reach
    SCMP_SYS(execve)};

// What the CUDA driver needs beside them, by reports of others: it talks to its device nodes and to
// itself through an abstract socket.
constexpr std::array kAllowedWithGpu = {SCMP_SYS(mmap),
                                        SCMP_SYS(pipe2),
                                        SCMP_SYS(eventfd2),
                                        SCMP_SYS(epoll_create1),
                                        SCMP_SYS(epoll_ctl),
                                        SCMP_SYS(epoll_wait),
                                        SCMP_SYS(sched_setaffinity),
                                        SCMP_SYS(bind),
                                        SCMP_SYS(listen),
                                        SCMP_SYS(getsockname),
                                        SCMP_SYS(socketpair),
                                        SCMP_SYS(sendmsg),
                                        SCMP_SYS(recvmsg)};

constexpr std::uint64_t kMakesFiles = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);
// Memory that is mapped so is counted by no limit but that of addresses.
constexpr std::uint64_t kSharedMemory = MAP_SHARED | MAP_ANONYMOUS;
constexpr std::uint64_t kThreadFlags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;

Status allow(void* filter, std::span<const int> calls) {
  for (const int call : calls) {
    if (const int code = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); code != 0)
      return errno_error("cannot list", "a system call", -code);
  }
  return {};
}

// Allows a call if its arguments fit.
Status allow_if(void* filter, int call, std::span<const scmp_arg_cmp> arguments,
                std::uint32_t action = SCMP_ACT_ALLOW) {
  const int code = ::seccomp_rule_add_array(
      filter, action, call, static_cast<unsigned>(arguments.size()), arguments.data());
  return code == 0 ? Status() : errno_error("cannot list", "a system call", -code);
}

Status allow_if_equal(void* filter, int call, unsigned argument, std::uint64_t value) {
  const std::array fits = {scmp_arg_cmp{argument, SCMP_CMP_EQ, value, 0}};
  return allow_if(filter, call, fits);
}

Status add_conditions(void* filter) {
  // Only files that exist.
  const std::array opens = {scmp_arg_cmp{2, SCMP_CMP_MASKED_EQ, kMakesFiles, 0}};
  MH_TRY_VOID(allow_if(filter, SCMP_SYS(openat), opens));
  const std::array old_opens = {scmp_arg_cmp{1, SCMP_CMP_MASKED_EQ, kMakesFiles, 0}};
  MH_TRY_VOID(allow_if(filter, SCMP_SYS(open), old_opens));
  const std::array threads = {scmp_arg_cmp{0, SCMP_CMP_MASKED_EQ, kThreadFlags, kThreadFlags}};
  MH_TRY_VOID(allow_if(filter, SCMP_SYS(clone), threads));
  MH_TRY_VOID(allow_if(filter, SCMP_SYS(clone3), {}, SCMP_ACT_ERRNO(ENOSYS)));
  for (const std::uint64_t flags : {0, MAP_SHARED, MAP_ANONYMOUS}) {
    const std::array maps = {scmp_arg_cmp{3, SCMP_CMP_MASKED_EQ, kSharedMemory, flags}};
    MH_TRY_VOID(allow_if(filter, SCMP_SYS(mmap), maps));
  }
  for (const std::uint64_t command : {F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL})
    MH_TRY_VOID(allow_if_equal(filter, SCMP_SYS(fcntl), 1, command));
  // Its own limits may be read, not set.
  const std::array reads = {scmp_arg_cmp{0, SCMP_CMP_EQ, 0, 0}, scmp_arg_cmp{2, SCMP_CMP_EQ, 0, 0}};
  MH_TRY_VOID(allow_if(filter, SCMP_SYS(prlimit64), reads));
  for (const std::uint64_t command : {PR_SET_NAME, PR_GET_NAME})
    MH_TRY_VOID(allow_if_equal(filter, SCMP_SYS(prctl), 0, command));
  const auto self = static_cast<std::uint64_t>(::getpid());
  MH_TRY_VOID(allow_if_equal(filter, SCMP_SYS(kill), 0, self));
  return allow_if_equal(filter, SCMP_SYS(tgkill), 0, self);
}

Status add_gpu_conditions(void* filter) {
  MH_TRY_VOID(allow(filter, kAllowedWithGpu));
  MH_TRY_VOID(allow_if_equal(filter, SCMP_SYS(socket), 0, AF_UNIX));
  for (const std::uint64_t command : {F_SETFL, F_DUPFD})
    MH_TRY_VOID(allow_if_equal(filter, SCMP_SYS(fcntl), 1, command));
  // Everything but what types into or reconfigures terminals ('T' requests have the high byte
  // 0x54). NVIDIA's requests have a size and a direction above it.
  const std::array not_tty = {scmp_arg_cmp{1, SCMP_CMP_GT, 0xFFFF, 0}};
  return allow_if(filter, SCMP_SYS(ioctl), not_tty);
}

Result<Filter> make_filter() {
  Filter filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (!filter) return fail(Errc::kInternal, "cannot make a list of system calls");
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // drop_privileges() has set no_new_privs.
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0);
  // A tree instead of a list; and before Linux 5.16 a filter would slow every branch of the trainer
  // (speculative store bypass), without need: it shares no memory with anybody.
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_SSB, 1);
  return filter;
}

Status load(const Filter& filter) {
  const int code = ::seccomp_load(filter.get());
  return code == 0 ? Status() : errno_error("cannot apply", "the list of system calls", -code);
}

}  // namespace

Status apply_syscall_list(bool has_gpu) {
  MH_TRY(const Filter filter, make_filter());
  MH_TRY_VOID(allow(filter.get(), kAllowed));
  MH_TRY_VOID(add_conditions(filter.get()));
  if (has_gpu) MH_TRY_VOID(add_gpu_conditions(filter.get()));
  return load(filter);
}

Status apply_waiting_list() {
  constexpr std::array kWaiting = {SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(exit_group),
                                   SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall)};
  MH_TRY(const Filter filter, make_filter());
  MH_TRY_VOID(allow(filter.get(), kWaiting));
  return load(filter);
}

}  // namespace mh::sandbox
