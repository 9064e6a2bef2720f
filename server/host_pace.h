// Slows hosts that ask too often. Each host has a bucket of calls that fills with time; a call that
// brought nothing takes one out. A host that calls with an empty bucket is told to stay away,
// longer each time, and no work is done for it; it is never banned.
//
// Rules
// 1. A call that had results taken or work given out costs nothing. *Rationale:* small workunits on
//    fast hosts make hundreds of calls a second, all of them useful.
// 2. A held call costs one, as others: 25 s fill the bucket many times over.
// 3. The wait doubles with every call that comes before its time, up to kWaitMax, and starts anew
//    when the bucket is full again. *Rationale:* a client in a tight loop costs less and less;
//    one that obeys is never slowed, because the server's shortest back-off (200 ms) is longer than
//    the time in which a call is filled in.
// Pure: `now` is an argument. Memory: a host with a full bucket is forgotten.
// Threads: one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "proto/base/clock.h"

namespace mh::server {

class HostPace {
 public:
  static constexpr double kBurst = 32;
  static constexpr std::chrono::milliseconds kFillInterval{125};
  static constexpr std::chrono::milliseconds kWaitMin{1'000};
  static constexpr std::chrono::milliseconds kWaitMax{60'000};

  // A call begins. Nothing: it may go on, and calls refund() if it was useful. A duration: the host
  // shall stay away so long.
  std::optional<std::chrono::milliseconds> take(std::uint64_t host, TimePoint now);
  // The call that take() let pass was useful.
  void refund(std::uint64_t host, TimePoint now);
  std::size_t host_count() const { return buckets_.size(); }

 private:
  struct Bucket {
    double calls = kBurst;
    TimePoint filled{};
    std::chrono::milliseconds wait{0};
  };
  void fill(Bucket& bucket, TimePoint now) const;
  void forget_full(TimePoint now);

  std::unordered_map<std::uint64_t, Bucket> buckets_;
  // Next look for buckets to forget.
  TimePoint sweep_at_{};
};

}  // namespace mh::server
