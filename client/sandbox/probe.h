// Which layers this machine grants, by trying each: kernels, containers and security modules say no
// in too many ways to be asked. Takes a fifth of a second.
#pragma once

#include <filesystem>

#include "client/sandbox/layers.h"

namespace mh::sandbox {

/// `program` is run inside each layer with the argument "nothing", and must end with exit code 0:
/// manyhands-sandbox itself. What works alone but not with the others is taken out again.
/// Threads: before any is started.
Available probe(const std::filesystem::path& program);

}  // namespace mh::sandbox
