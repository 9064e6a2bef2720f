// Resource limits and privileges. Threads: before any is started.
#pragma once

#include "client/sandbox/plan.h"

namespace mh::sandbox {

/// No limit is ever raised. Errors: kInternal.
Status apply_limits(const Plan& plan);

/// Where the kernel can (6.14): the pid namespace has no more than a few hundred process numbers,
/// so that root's trainers, whose processes RLIMIT_NPROC does not count, are bounded, too.
/// Requires: the first process of a pid namespace, /proc.
void limit_process_numbers(const Plan& plan);

/// Empties every set of capabilities, and no program that is run from here on gets any.
/// Errors: kInternal.
Status drop_privileges();

/// no_new_privs: setuid and file capabilities have no effect from here on. Errors: kInternal.
Status forgo_new_privileges();

}  // namespace mh::sandbox
