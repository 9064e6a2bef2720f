// Landlock: files by rule, no TCP, signals and abstract sockets stay inside. Threads: before any is
// started; what is applied holds for all children and cannot be taken back.
#pragma once

#include <vector>

#include "client/sandbox/doors.h"
#include "proto/base/result.h"

namespace mh::sandbox {

/// The kernel's version of Landlock, 0: none. 3 (Linux 6.2) is the least that protects files from
/// being cut short; 4 adds TCP, 5 ioctl of devices, 6 signals and abstract sockets.
int landlock_version();

/// Requires: no_new_privs. Errors: kUnimplemented (no Landlock), kInternal.
Status apply_landlock(const std::vector<Door>& doors);

}  // namespace mh::sandbox
