// Attempts that end this process, replace it, or take all of something where nothing stops them.
// What they take is bounded so that a machine without a sandbox survives the test.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

constexpr int kForkCount = 300;
constexpr int kThreadCount = 1000;
constexpr std::size_t kStepBytes = std::size_t{16} << 20;
// Eight times what the test allows.
constexpr std::size_t kMemoryBytes = std::size_t{1} << 30;
constexpr std::uint64_t kSparseBytes = std::uint64_t{1} << 40;
constexpr int kFileCount = 1000;

int result_of(long returned) { return returned < 0 ? errno : kSucceeded; }

int fork_bomb(const Targets&) {
  std::vector<pid_t> children;
  int why = kSucceeded;
  while (why == kSucceeded && children.size() < kForkCount) {
    const pid_t child = ::fork();
    if (child < 0) {
      why = errno;
    } else if (child == 0) {
      ::pause();
      ::_exit(0);
    } else {
      children.push_back(child);
    }
  }
  for (const pid_t child : children) ::kill(child, SIGKILL);
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  return why;
}

int wait_for_ever(void*) {
  for (;;) ::pause();
}

// Threads that share one small stack, which they do not use but for waiting.
int thread_bomb(const Targets&) {
  constexpr std::size_t kStack = 16384;
  constexpr int kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
  for (int i = 0; i < kThreadCount; ++i) {
    void* stack =
        ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) return errno;
    if (::clone(wait_for_ever, static_cast<char*>(stack) + kStack, kFlags, nullptr) < 0)
      return errno;
  }
  return kSucceeded;
}

int take_memory(int flags, int file) {
  for (std::size_t taken = 0; taken < kMemoryBytes; taken += kStepBytes) {
    void* bytes = ::mmap(nullptr, kStepBytes, PROT_READ | PROT_WRITE, flags, file, 0);
    if (bytes == MAP_FAILED) return errno;
    std::memset(bytes, 1, kStepBytes);
  }
  return kSucceeded;
}

int memory_by_zero_device(const Targets&) {
  const int file = ::open("/dev/zero", O_RDWR);
  return file < 0 ? errno : take_memory(MAP_SHARED, file);
}

int memory_by_memfd(const Targets&) {
  const int file = ::memfd_create("x", 0);
  if (file < 0) return errno;
  std::vector<char> bytes(kStepBytes, 1);
  for (std::size_t taken = 0; taken < kMemoryBytes; taken += kStepBytes) {
    if (::write(file, bytes.data(), bytes.size()) < 0) return errno;
  }
  return kSucceeded;
}

// The signal would end the process before it could say so.
int disk_bomb(const Targets& targets) {
  ::signal(SIGXFSZ, SIG_IGN);
  const int file = ::open(targets.text("out_file"), O_WRONLY);
  if (file < 0) return errno;
  std::vector<char> bytes(kStepBytes, 1);
  for (std::size_t taken = 0; taken < kMemoryBytes / 4; taken += kStepBytes) {
    if (::write(file, bytes.data(), bytes.size()) < 0) return errno;
  }
  return kSucceeded;
}

int sparse_file(const Targets& targets) {
  ::signal(SIGXFSZ, SIG_IGN);
  const int file = ::open(targets.text("out_file"), O_WRONLY);
  if (file < 0) return errno;
  return result_of(::ftruncate(file, static_cast<off_t>(kSparseBytes)));
}

int many_files(const Targets& targets) {
  for (int i = 0; i < kFileCount; ++i) {
    const std::string path = std::string(targets.text("out")) + "/n" + std::to_string(i);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
    if (file < 0) return errno;
    ::close(file);
  }
  return kSucceeded;
}

int many_descriptors(const Targets&) {
  for (int i = 0; i < 4000; ++i) {
    if (::dup(STDERR_FILENO) < 0) return errno;
  }
  return kSucceeded;
}

int exec_shell(const Targets&) {
  char* const arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                             const_cast<char*>("exit 88"), nullptr};
  char* const environment[] = {nullptr};
  return result_of(::execve("/bin/sh", arguments, environment));
}

int exec_setuid(const Targets&) {
  char* const arguments[] = {const_cast<char*>("su"), const_cast<char*>("--version"), nullptr};
  char* const environment[] = {nullptr};
  return result_of(::execve("/bin/su", arguments, environment));
}

// A program of its own, written to `file`: "exit_group(88)" in the smallest ELF that the kernel
// takes.
int write_program(int file) {
  // mov edi, 88; mov eax, 231; syscall
  const std::array<unsigned char, 12> code = {0xBF, 88, 0, 0, 0, 0xB8, 231, 0, 0, 0, 0x0F, 0x05};
  struct {
    unsigned char ident[16] = {0x7F, 'E', 'L', 'F', 2, 1, 1};
    std::uint16_t type = 2, machine = 62;
    std::uint32_t version = 1;
    std::uint64_t entry = 0x400078, program_headers = 64, section_headers = 0;
    std::uint32_t flags = 0;
    std::uint16_t header_size = 64, entry_size = 56, count = 1, sections[3] = {};
    std::uint32_t part_type = 1, part_flags = 5;
    std::uint64_t offset = 0, address = 0x400000, physical = 0x400000, size = 132, memory = 132,
                  align = 4096;
  } header;
  static_assert(sizeof header == 120);
  if (::write(file, &header, sizeof header) < 0) return errno;
  return result_of(::write(file, code.data(), code.size()));
}

int exec_memfd(const Targets&) {
  const int file = ::memfd_create("x", MFD_CLOEXEC);
  if (file < 0) return errno;
  if (const int why = write_program(file); why != kSucceeded) return why;
  char* const arguments[] = {const_cast<char*>("x"), nullptr};
  return result_of(::syscall(SYS_execveat, file, "", arguments, arguments + 1, AT_EMPTY_PATH));
}

int exec_output(const Targets& targets) {
  const int file = ::open(targets.text("out_file"), O_WRONLY);
  if (file < 0) return errno;
  if (const int why = write_program(file); why != kSucceeded) return why;
  ::close(file);
  ::chmod(targets.text("out_file"), 0700);
  char* const arguments[] = {const_cast<char*>("x"), nullptr};
  return result_of(::execve(targets.text("out_file"), arguments, arguments + 1));
}

// socket() by the number it has for 32-bit programs, where a filter for 64 bits alone sees another
// call.
int call_as_32_bit(const Targets&) {
  long result = 359;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(2L), "c"(1L), "d"(0L)
               : "memory", "r8", "r9", "r10", "r11");
  if (result >= 0) return kSucceeded;
  return static_cast<int>(-result);
}

int call_as_x32(const Targets&) { return result_of(::syscall(0x40000000 + SYS_getpid)); }

constexpr std::array kAttempts = {
    Attempt{"fork bomb", fork_bomb},
    Attempt{"thread bomb", thread_bomb},
    Attempt{"memory bomb",
            [](const Targets&) { return take_memory(MAP_PRIVATE | MAP_ANONYMOUS, -1); }},
    Attempt{"shared memory bomb",
            [](const Targets&) { return take_memory(MAP_SHARED | MAP_ANONYMOUS, -1); }},
    Attempt{"shared memory bomb by /dev/zero", memory_by_zero_device},
    Attempt{"memory bomb by memory files", memory_by_memfd},
    Attempt{"disk bomb", disk_bomb},
    Attempt{"huge sparse output", sparse_file},
    Attempt{"a thousand files", many_files},
    Attempt{"descriptor bomb", many_descriptors},
    Attempt{"run a shell", exec_shell},
    Attempt{"run a setuid program", exec_setuid},
    Attempt{"run a program from memory", exec_memfd},
    Attempt{"run a program from the output", exec_output},
    Attempt{"call as a 32-bit program", call_as_32_bit},
    Attempt{"call as an x32 program", call_as_x32},
};

}  // namespace

std::span<const Attempt> bomb_attempts() { return kAttempts; }

}  // namespace mh::hostile
