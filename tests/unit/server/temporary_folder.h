// A folder of its own for one test, removed with it. In memory where there is room: the tests make
// thousands of files and commits, and none of them cuts the power.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

namespace mh::server {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (base() / "mh-server-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  static std::filesystem::path base() {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code error;
    const auto space = std::filesystem::space(memory, error);
    const bool is_usable = !error && space.available >= std::uintmax_t{1} << 30 &&
                           ::access(memory.c_str(), W_OK | X_OK) == 0;
    return is_usable ? memory : std::filesystem::temp_directory_path();
  }

  std::filesystem::path path_;
};

}  // namespace mh::server
