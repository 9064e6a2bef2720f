// Runs a program inside the sandbox and ends as it ended.
//
//   daemon ─▶ this process ─▶ first process of the pid namespace ─▶ the program
//             (waits)         (builds the sandbox, then waits)
//
// Rules
// 1. All layers of the plan are applied, or the program is not run. *Rationale:* what can be had is
//    found out before (probe.h) and told to the volunteer; what is told must then be so.
// 2. Whichever process of the three is killed, the other two end: the kernel kills the pid
// namespace
//    with its first process, and PR_SET_PDEATHSIG does the rest.
// 3. Only standard input, output and error are passed on; this process and the first one keep
//    neither end of the program's pipes.
#pragma once

#include "client/sandbox/plan.h"

namespace mh::sandbox {

/// Exit code of this program where the sandbox could not be built.
inline constexpr int kExitNoSandbox = 125;

/// Ends as the program ended: with its exit code, or by the signal that ended it. Where the sandbox
/// cannot be built: exit code 125, after a line on standard error.
[[noreturn]] void launch(const Plan& plan);

/// The same in a child; true if it ended with exit code 0. Its standard error is returned in
/// `said`.
bool try_launch(const Plan& plan, std::string& said);

}  // namespace mh::sandbox
