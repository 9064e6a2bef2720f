// An update's numbers, which lie in the mapped file of its blob: for the aggregation, and for the
// comparison of two hosts' updates. Threads: any; blocks on the disk.
#pragma once

#include <span>

#include "server/blob_store.h"
#include "server/job_models.h"

namespace mh::server {

struct MappedUpdate {
  MappedFile file;
  std::span<const float> values;
};

// An update of this job and step. Errors: kNotFound, kDataLoss, kInvalidArgument.
Result<MappedUpdate> map_update(const BlobStore& blobs, const JobModel& model, const Digest& digest,
                                std::uint64_t step);

}  // namespace mh::server
