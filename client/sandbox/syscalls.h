// The list of system calls that a trainer may make (seccomp). Threads: before any is started; holds
// for all children and cannot be taken back.
//
// Rules
// 1. What is not in the list is answered EPERM, not by death. *Rationale:* libraries try calls and
// go on
//    without (LibTorch's profiler, drivers); a workunit lost on a stranger's computer by a harmless
//    try could never be explained, and the call is refused either way. clone3 is answered ENOSYS,
//    so that the C library falls back to clone, whose flags a filter can read.
// 2. Calls of another ABI (32 bit, x32) end the process: no trainer makes them, and their numbers
//    mean other calls.
// 3. No file can be made, linked, renamed or removed: outputs exist before
// (client/daemon/outbox.h).
// 4. Signals go to this process alone, new threads are threads and not processes.
#pragma once

#include "proto/base/result.h"

namespace mh::sandbox {

/// Requires: no_new_privs; called by the process that will be the program, which it may then
/// execute. Errors: kUnimplemented (no seccomp), kInternal.
Status apply_syscall_list(bool has_gpu);

/// For the process that only waits for the program: it may wait, kill nothing, and end.
Status apply_waiting_list();

}  // namespace mh::sandbox
