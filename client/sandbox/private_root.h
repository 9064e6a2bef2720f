// A root file system of our own: an empty tmpfs with the doors bound at their own paths, everything
// else gone. Threads: before any is started; in the first process of the pid namespace.
#pragma once

#include <vector>

#include "client/sandbox/doors.h"
#include "proto/base/result.h"

namespace mh::sandbox {

/// Requires: enter_namespaces() with the mount layer. Errors: kPermissionDenied, kInternal, naming
/// the step and path.
Status enter_private_root(const std::vector<Door>& doors);

}  // namespace mh::sandbox
