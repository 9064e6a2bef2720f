// See bucket_key.h.
#include "trainer/model/bucket_key.h"

#include "proto/base/random.h"

namespace mh::model {
namespace {

// Keeps these keys apart from those of shuffles, parameters and dropout ("BUCK"). Persistent.
constexpr std::uint64_t kBucketPurpose = 0x4255434b;

}  // namespace

std::uint64_t bucket_key(std::uint64_t job_seed, std::uint64_t step) {
  return derive_key(job_seed, kBucketPurpose, step);
}

}  // namespace mh::model
