// Two reported updates, measured against each other for the coordinator (its effect `comparisons`).
// Threads: any; blocks on the disk.
#pragma once

#include "scheduler/events.h"
#include "server/blob_store.h"
#include "server/job_models.h"

namespace mh::server {

// Errors: as map_update(); then the pair cannot be compared.
Result<scheduler::Distance> compare_updates(const BlobStore& blobs, const JobModel& model,
                                            const scheduler::Comparison& comparison);

}  // namespace mh::server
