// Where the trainer is: for the daemon, and for `manyhands verify --recompute`. No threads.
#pragma once

#include <filesystem>
#include <string>

#include "proto/base/result.h"

namespace mh {

/// The trainer: `flag` if not empty, else MANYHANDS_TRAINER, else manyhands-trainer beside this
/// program. Errors: kInvalidArgument (not an executable file; says what to do).
Result<std::filesystem::path> find_trainer(const std::string& flag);

}  // namespace mh
