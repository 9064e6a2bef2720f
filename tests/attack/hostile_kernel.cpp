// Attempts on the kernel's less travelled doors.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

int result_of(long returned) { return returned < 0 ? errno : kSucceeded; }

int use_io_uring(const Targets&) {
  std::array<unsigned char, 256> parameters{};
  return result_of(::syscall(SYS_io_uring_setup, 4, parameters.data()));
}

int load_bpf(const Targets&) {
  // r0 = 0; exit
  const std::array<std::uint64_t, 2> program = {0xB7, 0x95};
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insn_cnt = program.size();
  attributes.insns = reinterpret_cast<std::uint64_t>(program.data());
  attributes.license = reinterpret_cast<std::uint64_t>("GPL");
  return result_of(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

int count_events(const Targets&) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.exclude_kernel = 1;
  return result_of(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

int clone_into_namespace(const Targets&) {
  const long child = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0);
  if (child < 0) return errno;
  if (child == 0) ::_exit(0);
  ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  return kSucceeded;
}

int clone3_into_namespace(const Targets&) {
  std::array<std::uint64_t, 8> arguments{};
  arguments[0] = CLONE_NEWUSER;
  arguments[4] = SIGCHLD;
  const long child = ::syscall(SYS_clone3, arguments.data(), sizeof arguments);
  if (child < 0) return errno;
  if (child == 0) ::_exit(0);
  ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  return kSucceeded;
}

int mount_something(const Targets&) {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return result_of(::mount("tmpfs", "/", "tmpfs", 0, nullptr));
}

int remount_writable(const Targets& targets) {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  return result_of(::mount(nullptr, targets.text("cache"), nullptr, MS_REMOUNT | MS_BIND, nullptr));
}

int open_by_handle(const Targets& targets) {
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> space{};
  auto* handle = reinterpret_cast<file_handle*>(space.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(AT_FDCWD, targets.text("cache"), handle, &mount_id, 0) != 0) return errno;
  const int folder = ::open(targets.text("cache"), O_RDONLY);
  return result_of(::open_by_handle_at(folder, handle, O_RDONLY));
}

int type_into_terminal(const Targets&) {
  char byte = '\n';
  return result_of(::ioctl(STDERR_FILENO, TIOCSTI, &byte));
}

int name_of_host(const Targets& targets) {
  utsname info{};
  if (::uname(&info) != 0) return errno;
  return std::strcmp(info.nodename, targets.text("host_name")) == 0 ? kSucceeded : ENOENT;
}

int rename_host(const Targets& targets) {
  return result_of(
      ::sethostname(targets.text("host_name"), std::strlen(targets.text("host_name"))));
}

int change_root(const Targets& targets) { return result_of(::chroot(targets.text("cache"))); }

int watch_all_files(const Targets&) {
  return result_of(::fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
}

int watch_home(const Targets& targets) {
  const int watch = ::inotify_init1(0);
  if (watch < 0) return errno;
  return result_of(::inotify_add_watch(watch, targets.text("home"), IN_ACCESS));
}

int read_kernel_log(const Targets&) {
  std::array<char, 256> text{};
  return result_of(::klogctl(3, text.data(), text.size()));
}

constexpr std::array kAttempts = {
    Attempt{"use io_uring", use_io_uring},
    Attempt{"use userfaultfd",
            [](const Targets&) { return result_of(::syscall(SYS_userfaultfd, 0)); }},
    Attempt{"add a key",
            [](const Targets&) {
              return result_of(::syscall(SYS_add_key, "user", "manyhands-test", "x", 1, -1));
            }},
    Attempt{"search the keyring",
            [](const Targets&) { return result_of(::syscall(SYS_keyctl, 0, -3, 0, 0, 0)); }},
    Attempt{"load a BPF program", load_bpf},
    Attempt{"count performance events", count_events},
    Attempt{"make a user namespace",
            [](const Targets&) { return result_of(::unshare(CLONE_NEWUSER)); }},
    Attempt{"clone into a user namespace", clone_into_namespace},
    Attempt{"clone3 into a user namespace", clone3_into_namespace},
    Attempt{"mount", mount_something},
    Attempt{"remount the input writable", remount_writable},
    Attempt{"change the root", change_root},
    Attempt{"open a file by its handle", open_by_handle},
    Attempt{"make an unnamed memory file",
            [](const Targets&) { return result_of(::memfd_create("x", 0)); }},
    Attempt{"change its personality",
            [](const Targets&) {
              return result_of(::personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC));
            }},
    Attempt{"type into the terminal", type_into_terminal},
    Attempt{"learn the host's name", name_of_host},
    Attempt{"change the host's name", rename_host},
    Attempt{"watch all files", watch_all_files},
    Attempt{"watch $HOME", watch_home},
    Attempt{"read the kernel's messages", read_kernel_log},
    Attempt{"use I/O ports", [](const Targets&) { return result_of(::ioperm(0x80, 1, 1)); }},
};

}  // namespace

std::span<const Attempt> kernel_attempts() { return kAttempts; }

}  // namespace mh::hostile
