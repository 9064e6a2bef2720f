// See limits.h.
#include "client/sandbox/limits.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>

#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

constexpr rlim_t kOpenFilesMax = 512;
constexpr rlim_t kLockedBytesMax = 8 * 1024 * 1024;
// A trainer lives as long as there is work: this ends one that has gone astray, nothing more.
constexpr rlim_t kCpuSecondsMax = 7 * 24 * 3600;
// LibTorch's pools, the thread that reads frames; with a GPU, the driver's.
constexpr rlim_t kSpareThreads = 64;
// A user namespace counts its own processes since Linux 5.14; before it, those of the whole user.
constexpr int kOwnCountVersion = 5014;
// All of the user's: far above what a desktop has, far below all numbers of the machine.
constexpr rlim_t kProcessesOfUserMax = 8192;
// Each pid namespace has its own limit of numbers since Linux 6.14; before it, this is all of the
// machine's.
constexpr int kOwnNumbersVersion = 6014;
// The kernel takes no less.
constexpr rlim_t kProcessNumbersMin = 301;

// 6014 for "6.14.3-amd64"; 0 if it is not understood.
int kernel_version() {
  utsname info{};
  int major = 0;
  int minor = 0;
  if (::uname(&info) != 0 || std::sscanf(info.release, "%d.%d", &major, &minor) != 2) return 0;
  return major * 1000 + minor;
}

rlim_t processes_max(const Plan& plan) { return 4 * rlim_t{plan.limits.threads} + kSpareThreads; }

Status limit(__rlimit_resource resource, const char* what, rlim_t wanted) {
  rlimit present{};
  if (::getrlimit(resource, &present) != 0)
    return errno_error("cannot read the limit of", what, errno);
  const rlim_t value = std::min(wanted, present.rlim_max);
  const rlimit changed{.rlim_cur = value, .rlim_max = value};
  if (::setrlimit(resource, &changed) != 0) return errno_error("cannot limit", what, errno);
  return {};
}

}  // namespace

Status apply_limits(const Plan& plan) {
  const Limits& limits = plan.limits;
  const rlim_t threads = limits.threads;
  const bool has_own_count = plan.layers.has(Layer::kUser) && kernel_version() >= kOwnCountVersion;
  MH_TRY_VOID(
      limit(RLIMIT_NPROC, "processes", has_own_count ? processes_max(plan) : kProcessesOfUserMax));
  MH_TRY_VOID(limit(RLIMIT_DATA, "memory", limits.memory_bytes));
  if (!plan.has_gpu)
    MH_TRY_VOID(limit(RLIMIT_AS, "addresses", limits.memory_bytes + limits.mapped_bytes));
  MH_TRY_VOID(limit(RLIMIT_FSIZE, "the size of files", limits.file_bytes));
  MH_TRY_VOID(limit(RLIMIT_NOFILE, "open files", kOpenFilesMax));
  MH_TRY_VOID(limit(RLIMIT_CPU, "CPU time", kCpuSecondsMax * threads));
  MH_TRY_VOID(limit(RLIMIT_MEMLOCK, "locked memory", kLockedBytesMax));
  MH_TRY_VOID(limit(RLIMIT_MSGQUEUE, "message queues", 0));
  MH_TRY_VOID(limit(RLIMIT_NICE, "priority", 0));
  MH_TRY_VOID(limit(RLIMIT_RTPRIO, "real-time priority", 0));
  return limit(RLIMIT_CORE, "core dumps", 0);
}

void limit_process_numbers(const Plan& plan) {
  if (kernel_version() < kOwnNumbersVersion) return;
  const UniqueFd file(::open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(std::max(kProcessNumbersMin, processes_max(plan)));
  if (file.is_open()) (void)!::write(file.get(), text.data(), text.size());
}

Status drop_privileges() {
  // Without effect, and refused, where this process has none.
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM)
      return errno_error("cannot drop", "capabilities", errno);
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0)
    return errno_error("cannot drop", "capabilities", errno);
  return forgo_new_privileges();
}

Status forgo_new_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return errno_error("cannot set", "no_new_privs", errno);
  return {};
}

}  // namespace mh::sandbox
