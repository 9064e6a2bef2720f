// User, mount, pid, ipc, uts and net namespaces. Threads: before any is started.
#pragma once

#include "client/sandbox/layers.h"

namespace mh::sandbox {

/// Takes this process into those of the six namespaces that are in `layers`; of the pid namespace
/// its next child is the first process. Inside, the user is 1000 and has no name for anybody else,
/// and no further user namespace can be made. Errors: kPermissionDenied, kInternal, naming the
/// step.
Status enter_namespaces(LayerSet layers);

}  // namespace mh::sandbox
