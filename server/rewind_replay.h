// Computes the steps of a rewind from the updates that are kept, with the same code as the
// aggregation, so that equal inputs give equal bits.
// Flow: Coordinator::plan_rewind() -> here -> Coordinator::rewind().
#pragma once

#include <vector>

#include "scheduler/events.h"
#include "server/blob_store.h"

namespace mh::server {

// Takes the steps one after the other; what each makes is stored. Blocks on the disk, a fraction of
// a second for each step of a small model. Errors: kNotFound (a blob is gone), kDataLoss (damaged,
// or the new parameters are not finite), kResourceExhausted (no room).
// Threads: any.
Result<std::vector<scheduler::StepOutput>> replay_steps(BlobStore& blobs, const Digest& job_digest,
                                                        const Digest& manifest_digest,
                                                        const scheduler::RewindPlan& plan);

}  // namespace mh::server
