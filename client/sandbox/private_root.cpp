// See private_root.h.
#include "client/sandbox/private_root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

namespace fs = std::filesystem;

// Only folders and mount points lie in it.
constexpr const char* kRootOptions = "size=1m,nr_inodes=8192,mode=0755";
constexpr const char* kOld = "/.old";
// Any folder will do to mount the new root on for a moment.
constexpr std::array kStagingFolders = {"/tmp", "/var/tmp", "/run", "/mnt", "/usr"};

Status mount_staging_root() {
  int problem = ENOENT;
  for (const char* folder : kStagingFolders) {
    if (::mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, kRootOptions) == 0)
      return ::chdir(folder) == 0 ? Status() : errno_error("cannot enter", folder, errno);
    problem = errno;
  }
  return errno_error("cannot mount", "the private root", problem);
}

// Makes the mount point: a folder, or an empty file.
Status make_mount_point(const fs::path& path, bool is_folder) {
  std::error_code error;
  fs::create_directories(is_folder ? path : path.parent_path(), error);
  if (error) return errno_error("cannot create in the private root", path, error.value());
  if (is_folder) return {};
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0400));
  return file.is_open() ? Status() : errno_error("cannot create in the private root", path, errno);
}

unsigned long flags_of(Door::Use use) {
  switch (use) {
    case Door::Use::kRead:
      return MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    case Door::Use::kExecute:
      return MS_RDONLY | MS_NOSUID | MS_NODEV;
    case Door::Use::kWrite:
      return MS_NOSUID | MS_NODEV | MS_NOEXEC;
    case Door::Use::kDevice:
      return MS_RDONLY | MS_NOSUID | MS_NOEXEC;
    case Door::Use::kProc:
      return MS_NOSUID | MS_NODEV | MS_NOEXEC;
  }
  return MS_RDONLY;
}

Status open_door(const Door& door, const fs::path& real) {
  const fs::path source = kOld + real.string();
  struct stat info {};
  if (::stat(source.c_str(), &info) != 0) return errno_error("cannot find", real, errno);
  MH_TRY_VOID(make_mount_point(door.path, S_ISDIR(info.st_mode)));
  if (door.use == Door::Use::kProc) {
    if (::mount("proc", door.path.c_str(), "proc", flags_of(door.use), nullptr) != 0)
      return errno_error("cannot mount", door.path, errno);
    return {};
  }
  if (::mount(source.c_str(), door.path.c_str(), nullptr, MS_BIND, nullptr) != 0)
    return errno_error("cannot bind", door.path, errno);
  // The flags of a bind mount are those of its source until it is mounted again.
  if (::mount(nullptr, door.path.c_str(), nullptr, MS_BIND | MS_REMOUNT | flags_of(door.use),
              nullptr) != 0)
    return errno_error("cannot protect", door.path, errno);
  return {};
}

}  // namespace

Status enter_private_root(const std::vector<Door>& doors) {
  // Links are followed before the root changes: behind it an absolute one would lead elsewhere.
  std::vector<fs::path> real;
  for (const Door& door : doors) {
    std::error_code error;
    real.push_back(fs::canonical(door.path, error));
    if (error) return errno_error("cannot find", door.path, error.value());
  }
  ::umask(022);
  MH_TRY_VOID(mount_staging_root());
  if (::mkdir(kOld + 1, 0700) != 0) return errno_error("cannot create", kOld, errno);
  if (::syscall(SYS_pivot_root, ".", kOld + 1) != 0)
    return errno_error("cannot make the root", "the private root", errno);
  if (::chdir("/") != 0) return errno_error("cannot enter", "/", errno);
  for (std::size_t i = 0; i < doors.size(); ++i) MH_TRY_VOID(open_door(doors[i], real[i]));
  if (::umount2(kOld, MNT_DETACH) != 0)
    return errno_error("cannot let go of", "the old root", errno);
  if (::rmdir(kOld) != 0) return errno_error("cannot remove", kOld, errno);
  if (::mount(nullptr, "/", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
              nullptr) != 0)
    return errno_error("cannot protect", "/", errno);
  return {};
}

}  // namespace mh::sandbox
