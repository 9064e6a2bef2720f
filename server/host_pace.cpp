#include "server/host_pace.h"

#include <algorithm>

namespace mh::server {
namespace {

constexpr std::chrono::milliseconds kSweepInterval{10'000};

}  // namespace

void HostPace::fill(Bucket& bucket, TimePoint now) const {
  const auto passed = std::max(now - bucket.filled, std::chrono::milliseconds(0));
  bucket.filled = now;
  bucket.calls = std::min(kBurst, bucket.calls + static_cast<double>(passed.count()) /
                                                     static_cast<double>(kFillInterval.count()));
  if (bucket.calls >= kBurst) bucket.wait = std::chrono::milliseconds(0);
}

std::optional<std::chrono::milliseconds> HostPace::take(std::uint64_t host, TimePoint now) {
  forget_full(now);
  const auto [found, is_new] = buckets_.try_emplace(host);
  Bucket& bucket = found->second;
  if (is_new) bucket.filled = now;
  fill(bucket, now);
  if (bucket.calls >= 1) {
    bucket.calls -= 1;
    return std::nullopt;
  }
  bucket.wait = std::clamp(bucket.wait * 2, kWaitMin, kWaitMax);
  return bucket.wait;
}

void HostPace::refund(std::uint64_t host, TimePoint now) {
  const auto found = buckets_.find(host);
  if (found == buckets_.end()) return;
  Bucket& bucket = found->second;
  fill(bucket, now);
  bucket.calls = std::min(kBurst, bucket.calls + 1);
  if (bucket.calls >= kBurst) buckets_.erase(found);
}

void HostPace::forget_full(TimePoint now) {
  if (now < sweep_at_) return;
  sweep_at_ = now + kSweepInterval;
  std::erase_if(buckets_, [&](const auto& entry) {
    Bucket bucket = entry.second;
    fill(bucket, now);
    return bucket.calls >= kBurst;
  });
}

}  // namespace mh::server
