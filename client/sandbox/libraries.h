// Which files a program needs to start. Threads: any; runs the dynamic loader as a child.
#pragma once

#include <filesystem>
#include <vector>

#include "proto/base/result.h"

namespace mh::sandbox {

/// The loader of an ELF program and the libraries it would load at start, by the paths at which
/// they are looked for; none for a static program. The program itself is not run. Errors:
/// kInvalidArgument (no ELF program, or a library is missing: says which), kInternal.
Result<std::vector<std::filesystem::path>> libraries_of(const std::filesystem::path& program);

}  // namespace mh::sandbox
