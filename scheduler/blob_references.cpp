// See blob_references.h.
#include "scheduler/blob_references.h"

#include "proto/base/check.h"

namespace mh::scheduler {

void BlobReferences::add(const Digest& blob) {
  if (!blob.is_zero()) ++counts_[blob];
}

bool BlobReferences::remove(const Digest& blob) {
  if (blob.is_zero()) return false;
  const auto found = counts_.find(blob);
  MH_CHECK(found != counts_.end() && found->second > 0);
  if (--found->second > 0) return false;
  counts_.erase(found);
  return true;
}

std::vector<Digest> BlobReferences::all() const {
  std::vector<Digest> blobs;
  blobs.reserve(counts_.size());
  for (const auto& [blob, count] : counts_) blobs.push_back(blob);
  return blobs;
}

}  // namespace mh::scheduler
