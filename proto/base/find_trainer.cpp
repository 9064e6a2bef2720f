// See find_trainer.h.
#include "proto/base/find_trainer.h"

#include <unistd.h>

#include <cstdlib>

namespace mh {

Result<std::filesystem::path> find_trainer(const std::string& flag) {
  std::error_code error;
  std::filesystem::path path = flag;
  const char* environment = std::getenv("MANYHANDS_TRAINER");
  if (path.empty() && environment != nullptr) path = environment;
  if (path.empty())
    path =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "manyhands-trainer";
  if (std::filesystem::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0)
    return std::filesystem::absolute(path, error);
  return fail(Errc::kInvalidArgument,
              "no trainer program at " + path.string() +
                  ": install manyhands-trainer beside this program, or give --trainer PATH");
}

}  // namespace mh
