// See landlock.h. The system calls are made by number: glibc has no wrappers, and Debian 12's
// headers know version 2 only, so what came later is written down here.
#include "client/sandbox/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kTruncate = 1ULL << 14;     // version 3
constexpr std::uint64_t kIoctlDevice = 1ULL << 15;  // version 5
constexpr std::uint64_t kNetworkTcp = 3;            // version 4: bind, connect
constexpr std::uint64_t kScopes = 3;                // version 6: abstract sockets, signals
// All that can be done with files in version 1, and what came later.
constexpr std::uint64_t kAccessFs1 = (1ULL << 13) - 1;
constexpr std::uint64_t kRefer = 1ULL << 13;  // version 2
// What may be asked for a file; the rest is for folders.
constexpr std::uint64_t kForFiles = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                    LANDLOCK_ACCESS_FS_READ_FILE | kTruncate | kIoctlDevice;

struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};

RulesetAttributes attributes_of(int version) {
  RulesetAttributes attributes{
      .handled_access_fs = kAccessFs1, .handled_access_net = 0, .scoped = 0};
  if (version >= 2) attributes.handled_access_fs |= kRefer;
  if (version >= 3) attributes.handled_access_fs |= kTruncate;
  if (version >= 4) attributes.handled_access_net = kNetworkTcp;
  if (version >= 5) attributes.handled_access_fs |= kIoctlDevice;
  if (version >= 6) attributes.scoped = kScopes;
  return attributes;
}

// Older kernels know shorter attributes and refuse longer ones.
std::size_t attributes_size(int version) {
  if (version >= 6) return 24;
  return version >= 4 ? 16 : 8;
}

std::uint64_t access_of(Door::Use use) {
  switch (use) {
    case Door::Use::kRead:
      return kRead;
    case Door::Use::kExecute:
      return kRead | LANDLOCK_ACCESS_FS_EXECUTE;
    case Door::Use::kWrite:
      return LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
    case Door::Use::kDevice:
      return LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kIoctlDevice;
    case Door::Use::kProc:
      return kRead | LANDLOCK_ACCESS_FS_WRITE_FILE;
  }
  return 0;
}

Status add_rule(int ruleset, const Door& door, std::uint64_t handled) {
  const UniqueFd file(::open(door.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat info {};
  if (!file.is_open() || ::fstat(file.get(), &info) != 0)
    return errno_error("cannot open", door.path, errno);
  std::uint64_t access = access_of(door.use) & handled;
  if (!S_ISDIR(info.st_mode)) access &= kForFiles;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = file.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    return errno_error("cannot make a Landlock rule for", door.path, errno);
  return {};
}

}  // namespace

int landlock_version() {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version < 0 ? 0 : static_cast<int>(version);
}

Status apply_landlock(const std::vector<Door>& doors) {
  const int version = landlock_version();
  if (version == 0) return fail(Errc::kUnimplemented, "this kernel has no Landlock");
  const RulesetAttributes attributes = attributes_of(version);
  const UniqueFd ruleset(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(version), 0)));
  if (!ruleset.is_open()) return errno_error("cannot make", "a Landlock ruleset", errno);
  for (const Door& door : doors)
    MH_TRY_VOID(add_rule(ruleset.get(), door, attributes.handled_access_fs));
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return errno_error("cannot apply", "the Landlock ruleset", errno);
  return {};
}

}  // namespace mh::sandbox
