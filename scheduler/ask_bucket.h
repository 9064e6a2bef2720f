// How often a host may ask: a token bucket by the server's clock (rule 18 of coordinator.h).
// Pure; used by the assigner (asks cost) and the validator (valid results pay).
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/clock.h"

namespace mh::scheduler {

struct AskLimits {
  // Calls that go on for ever.
  double per_second = 5;
  // Calls that a host may make in a row before; full when it is new.
  double burst = 100;
  // What one valid result pays for: the calls that brought it, and some more.
  double per_valid_result = 4;
};

class AskBucket {
 public:
  // True if a call that was received at `received` may be given new work. One that is asked again
  // after it was held (its `received` is not news) costs nothing a second time.
  bool take(const AskLimits& limits, TimePoint received, TimePoint now) {
    refill(limits, now);
    if (tokens_ < 1) return false;
    if (received > last_received_) tokens_ -= 1;
    last_received_ = std::max(last_received_, received);
    return true;
  }
  void pay(const AskLimits& limits) {
    tokens_ = std::min(limits.burst, tokens_ + limits.per_valid_result);
  }
  // When take() is true again. Requires: it was false now.
  TimePoint next_at(const AskLimits& limits, TimePoint now) const {
    const double ms = (1 - tokens_) / limits.per_second * 1000;
    return now + std::chrono::milliseconds(1 + static_cast<std::int64_t>(ms));
  }

 private:
  void refill(const AskLimits& limits, TimePoint now) {
    if (refilled_ == TimePoint{}) tokens_ = limits.burst;
    const auto passed = std::max(std::chrono::milliseconds(0), now - refilled_);
    const double earned = static_cast<double>(passed.count()) / 1000 * limits.per_second;
    tokens_ = std::min(limits.burst, tokens_ + earned);
    refilled_ = now;
  }

  double tokens_ = 0;
  TimePoint refilled_{};
  TimePoint last_received_{};
};

}  // namespace mh::scheduler
