// See namespaces.h.
#include "client/sandbox/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

// Neither root nor the overflow user, so that no program treats it as special.
constexpr unsigned kInnerId = 1000;
constexpr std::string_view kHostName = "manyhands";

Status write_setting(const char* path, std::string_view text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file.is_open()) return errno_error("cannot open", path, errno);
  return write_all(file.get(), as_bytes(text), path);
}

int flags_of(LayerSet layers) {
  int flags = 0;
  if (layers.has(Layer::kUser)) flags |= CLONE_NEWUSER;
  if (layers.has(Layer::kMount)) flags |= CLONE_NEWNS;
  if (layers.has(Layer::kPid)) flags |= CLONE_NEWPID;
  if (layers.has(Layer::kIpc)) flags |= CLONE_NEWIPC;
  if (layers.has(Layer::kUts)) flags |= CLONE_NEWUTS;
  if (layers.has(Layer::kNet)) flags |= CLONE_NEWNET;
  return flags;
}

Error refusal(int error_number) {
  if (error_number == ENOSPC)
    return fail(Errc::kPermissionDenied,
                "no namespace may be made here (the user.max_*_namespaces settings)");
  return fail(Errc::kPermissionDenied,
              std::string("no namespace may be made here: ") + ::strerrordesc_np(error_number));
}

// Outside, files that this process opens are still its user's; inside, it is nobody in particular.
Status map_user(uid_t user, gid_t group) {
  const std::string inner = std::to_string(kInnerId) + " ";
  MH_TRY_VOID(write_setting("/proc/self/setgroups", "deny"));
  MH_TRY_VOID(write_setting("/proc/self/uid_map", inner + std::to_string(user) + " 1"));
  return write_setting("/proc/self/gid_map", inner + std::to_string(group) + " 1");
}

}  // namespace

Status enter_namespaces(LayerSet layers) {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  const int flags = flags_of(layers);
  if (flags != 0 && ::unshare(flags) != 0) return refusal(errno);
  if (layers.has(Layer::kUser)) {
    MH_TRY_VOID(map_user(user, group));
    // The second lock behind the list of system calls; where /proc/sys is read-only there is one.
    const Status second = write_setting("/proc/sys/user/max_user_namespaces", "0");
    (void)second;
  }
  if (layers.has(Layer::kUts) && ::sethostname(kHostName.data(), kHostName.size()) != 0)
    return errno_error("cannot set", "the host name", errno);
  // Nothing that is mounted from here on shows outside.
  if (layers.has(Layer::kMount) &&
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return errno_error("cannot make private", "/", errno);
  return {};
}

}  // namespace mh::sandbox
