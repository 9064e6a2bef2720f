// Counts who needs each blob, so that a blob is deleted when the last of them is done with it. Two
// jobs with the same seed and sizes share parameters by digest; counting keeps them apart.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "proto/base/sha256.h"

namespace mh::scheduler {

class BlobReferences {
 public:
  // A zero digest names no blob and is ignored.
  void add(const Digest& blob);
  // True when that was the last reference. Requires: referenced, or zero.
  bool remove(const Digest& blob);
  bool contains(const Digest& blob) const { return counts_.contains(blob); }
  // In order.
  std::vector<Digest> all() const;
  const std::map<Digest, std::uint64_t>& counts() const { return counts_; }

 private:
  std::map<Digest, std::uint64_t> counts_;
};

}  // namespace mh::scheduler
