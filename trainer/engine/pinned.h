// Pinned numerics in the trainer (proto/base/numerics.h): the libraries read their settings once,
// so the process must be started with them. Torch-free. Threads: the main thread, before others.
#pragma once

#include "proto/base/result.h"
#include "scheduler/job_spec.h"
#include "trainer/engine/device.h"

namespace mh::engine {

/// For verbs: if the job says `numerics: pinned` and this process was started without, starts the
/// same program with the same arguments again, and does not return. Errors: kFailedPrecondition
/// where the processor lacks AVX2 or FMA; kInternal (exec).
Status start_again_if_pinned(const scheduler::JobSpec& spec);

/// Whether this process may compute the job. Errors: kFailedPrecondition, saying why not.
Status check_numerics(const scheduler::JobSpec& spec, const Device& device);

}  // namespace mh::engine
