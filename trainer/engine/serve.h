// `manyhands-trainer serve`: computes workunits for the daemon that started it, until its input
// ends.
//
// Frames (frames.h) come in on one descriptor and go out on another; docs/file-formats.md describes
// the messages.
//
// Rules
// 1. Every "compute" is answered by exactly one "done" or "failed", in the order of arrival; one
// that was cancelled is
//    answered by "failed" with the error "cancelled".
// 2. One workunit is computed at a time, up to kQueueMax more may wait.
// 3. End of input means that the daemon is gone: the workunit at hand is dropped at its next
// micro-batch and the
//    process ends with 0. *Rationale:* a daemon that was killed must not leave a trainer that eats
//    a core.
// 4. Job, model, samples and parameters stay loaded between workunits, found again by their
// digests. Threads: serve() computes on the calling thread (malloc's main arena is the one that
// keeps memory) and reads frames on a second one.
#pragma once

#include <cstddef>

#include "trainer/engine/device.h"

namespace mh::engine {

/// Workunits that may wait while one is computed.
inline constexpr std::size_t kQueueMax = 4;

/// Serves until the input ends, an "exit" frame comes or the output is closed. Returns the exit
/// code of the process: 0, 1 after a fault of the device (the daemon starts a new trainer), 2 where
/// the input is no sequence of frames.
int serve(int input, int output, const Device& device);

}  // namespace mh::engine
