// Attempts on files: reading what is the volunteer's, writing anything, traps in the output folder.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

int result_of(long returned) { return returned < 0 ? errno : kSucceeded; }

int read_byte(const char* path) {
  const int file = ::open(path, O_RDONLY);
  if (file < 0) return errno;
  char byte = 0;
  const ssize_t count = ::read(file, &byte, 1);
  const int why = count < 0 ? errno : EIO;
  ::close(file);
  return count == 1 ? kSucceeded : why;
}

int open_for_writing(const char* path) { return result_of(::open(path, O_WRONLY)); }

int make_file(const std::string& path) {
  return result_of(::open(path.c_str(), O_WRONLY | O_CREAT, 0600));
}

// `what` is in it. The private root has empty folders on the way to what it shows.
int list(const char* path, const char* what) {
  DIR* folder = ::opendir(path);
  if (folder == nullptr) return errno;
  int why = ENOENT;
  while (const dirent* entry = ::readdir(folder)) {
    if (std::strcmp(entry->d_name, what) == 0) why = kSucceeded;
  }
  ::closedir(folder);
  return why;
}

std::string in_out(const Targets& targets, const char* name) {
  return std::string(targets.text("out")) + "/" + name;
}

int chmod_output(const Targets& targets) {
  return result_of(::chmod(targets.text("out_file"), 04777));
}

int rename_output(const Targets& targets) {
  return result_of(::rename(targets.text("out_file"), in_out(targets, "renamed").c_str()));
}

int link_unnamed(const Targets& targets) {
  const int file = ::open(targets.text("out"), O_TMPFILE | O_WRONLY, 0600);
  return result_of(file);
}

std::string of_victim(const Targets& targets, const char* what) {
  return "/proc/" + std::string(targets.text("victim_pid")) + "/" + what;
}

int follow_proc_root(const Targets& targets) {
  return read_byte((of_victim(targets, "root") + "/etc/passwd").c_str());
}

constexpr std::array kAttempts = {
    Attempt{"read a file in $HOME",
            [](const Targets& t) { return read_byte(t.text("home_secret")); }},
    Attempt{"list $HOME", [](const Targets& t) { return list(t.text("home"), "secret"); }},
    Attempt{"read /etc/passwd", [](const Targets&) { return read_byte("/etc/passwd"); }},
    Attempt{"read /etc/shadow", [](const Targets&) { return read_byte("/etc/shadow"); }},
    Attempt{"read another volunteer's state",
            [](const Targets& t) { return read_byte(t.text("other_state")); }},
    Attempt{"read the own host's secret",
            [](const Targets& t) { return read_byte(t.text("own_state")); }},
    Attempt{"read finished results",
            [](const Targets& t) { return list(t.text("work"), "1.update"); }},
    Attempt{"read the daemon's environment",
            [](const Targets& t) { return read_byte(of_victim(t, "environ").c_str()); }},
    Attempt{
        "open the daemon's memory",
        [](const Targets& t) { return result_of(::open(of_victim(t, "mem").c_str(), O_RDWR)); }},
    Attempt{"open the daemon's files",
            [](const Targets& t) { return list(of_victim(t, "fd").c_str(), "0"); }},
    Attempt{"go round by the daemon's root", follow_proc_root},
    Attempt{"read a block device",
            [](const Targets& t) { return result_of(::open(t.text("block_device"), O_RDONLY)); }},
    Attempt{"open the kernel log",
            [](const Targets&) { return result_of(::open("/dev/kmsg", O_RDONLY)); }},
    Attempt{"open the terminal",
            [](const Targets&) { return result_of(::open("/dev/ptmx", O_RDWR)); }},
    Attempt{"write into $HOME", [](const Targets& t) { return make_file(t.text("home_new")); }},
    Attempt{"write into /tmp", [](const Targets& t) { return make_file(t.text("tmp_new")); }},
    Attempt{"write into /dev/shm", [](const Targets& t) { return make_file(t.text("shm_new")); }},
    Attempt{"change a cached input",
            [](const Targets& t) { return open_for_writing(t.text("cached")); }},
    Attempt{"add to the cache",
            [](const Targets& t) { return make_file(std::string(t.text("cache")) + "/new"); }},
    Attempt{"change its own program",
            [](const Targets& t) { return open_for_writing(t.text("program")); }},
    Attempt{"change a library",
            [](const Targets& t) { return open_for_writing(t.text("library")); }},
    Attempt{"write a setting of the kernel",
            [](const Targets&) { return open_for_writing("/proc/sys/kernel/core_pattern"); }},
    Attempt{"make a file in the output folder",
            [](const Targets& t) { return make_file(in_out(t, "new")); }},
    Attempt{"make an unnamed file there", link_unnamed},
    Attempt{"make a link there to a secret",
            [](const Targets& t) {
              return result_of(::symlink(t.text("own_state"), in_out(t, "link").c_str()));
            }},
    Attempt{"make a hard link there",
            [](const Targets& t) {
              return result_of(::link(t.text("out_file"), in_out(t, "second").c_str()));
            }},
    Attempt{"make a fifo there",
            [](const Targets& t) { return result_of(::mkfifo(in_out(t, "fifo").c_str(), 0600)); }},
    Attempt{"make a device there",
            [](const Targets& t) {
              return result_of(::mknod(in_out(t, "device").c_str(), S_IFCHR | 0600, 0x101));
            }},
    Attempt{"make a folder there",
            [](const Targets& t) { return result_of(::mkdir(in_out(t, "folder").c_str(), 0700)); }},
    Attempt{"rename an output", rename_output},
    Attempt{"remove an output",
            [](const Targets& t) { return result_of(::unlink(t.text("out_file"))); }},
    Attempt{"make an output setuid", chmod_output},
    Attempt{"put an attribute on an output",
            [](const Targets& t) {
              return result_of(::setxattr(t.text("out_file"), "user.test", "x", 1, 0));
            }},
    Attempt{"list the output folder",
            [](const Targets& t) { return list(t.text("out"), "7.update"); }},
};

}  // namespace

std::span<const Attempt> file_attempts() { return kAttempts; }

}  // namespace mh::hostile
