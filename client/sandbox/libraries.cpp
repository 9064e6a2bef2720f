// See libraries.h.
#include "client/sandbox/libraries.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "proto/base/file.h"

namespace mh::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kProgramHeadersMax = 64;
constexpr std::size_t kListBytesMax = 1024 * 1024;

bool read_at(int file, std::uint64_t offset, void* bytes, std::size_t count) {
  return ::pread(file, bytes, count, static_cast<off_t>(offset)) == static_cast<ssize_t>(count);
}

// The path in PT_INTERP; empty for a static program.
Result<std::string> interpreter_of(const fs::path& program) {
  const Error no_elf =
      fail(Errc::kInvalidArgument, program.string() +
                                       " is no ELF program: the sandbox can run no script "
                                       "as a trainer (--sandbox off runs it without)");
  const UniqueFd file(::open(program.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return errno_error("cannot open", program, errno);
  Elf64_Ehdr header{};
  if (!read_at(file.get(), 0, &header, sizeof header) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr))
    return no_elf;
  for (std::size_t i = 0; i < std::min<std::size_t>(header.e_phnum, kProgramHeadersMax); ++i) {
    Elf64_Phdr part{};
    if (!read_at(file.get(), header.e_phoff + i * sizeof part, &part, sizeof part)) return no_elf;
    if (part.p_type != PT_INTERP) continue;
    std::string path(std::min<std::uint64_t>(part.p_filesz, 4096), '\0');
    if (!read_at(file.get(), part.p_offset, path.data(), path.size())) return no_elf;
    path.resize(std::strlen(path.c_str()));
    return path;
  }
  return std::string();
}

// Runs `LOADER --list PROGRAM`; its standard output.
Result<std::string> list_of(const std::string& loader, const fs::path& program) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("cannot make", "a pipe", errno);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("cannot fork for", loader, errno);
  if (child == 0) {
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::execl(loader.c_str(), loader.c_str(), "--list", program.c_str(), nullptr);
    ::_exit(127);
  }
  write_end.reset();
  std::string text;
  std::array<char, 4096> bytes{};
  for (ssize_t count = 1; count > 0 && text.size() < kListBytesMax;) {
    count = ::read(read_end.get(), bytes.data(), bytes.size());
    if (count > 0) text.append(bytes.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::kInvalidArgument,
                "the libraries of " + program.string() + " cannot be found by " + loader);
  return text;
}

}  // namespace

Result<std::vector<fs::path>> libraries_of(const fs::path& program) {
  MH_TRY(const std::string loader, interpreter_of(program));
  std::vector<fs::path> found;
  if (loader.empty()) return found;
  found.emplace_back(loader);
  MH_TRY(const std::string text, list_of(loader, program));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // "\tNAME => PATH (0x…)", "\tPATH (0x…)", "\tNAME => not found", "\tlinux-vdso.so.1 (0x…)"
    const std::size_t arrow = line.find(" => ");
    std::string path =
        line.substr(arrow == std::string::npos ? line.find_first_not_of(" \t") : arrow + 4);
    if (path.starts_with("not found"))
      return fail(Errc::kInvalidArgument,
                  program.string() + " needs a library that is not there:" + line);
    path.resize(std::min(path.size(), path.rfind(" (0x")));
    if (path.starts_with('/')) found.push_back(fs::path(path).lexically_normal());
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace mh::sandbox
