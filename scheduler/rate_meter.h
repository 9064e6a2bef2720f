// Samples per second over the last ten seconds, for display.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "proto/base/clock.h"

namespace mh::scheduler {

class RateMeter {
 public:
  static constexpr std::chrono::milliseconds kWindow{10'000};

  void add(TimePoint now, std::uint64_t count) {
    if (counts_.empty() && since_ == TimePoint{}) since_ = now;
    // Entries of a tenth of a second bound the memory to about a hundred.
    if (!counts_.empty() && now - counts_.back().first < kGrain) {
      counts_.back().second += count;
    } else {
      counts_.emplace_back(now, count);
    }
    while (!counts_.empty() && counts_.front().first + kWindow <= now) counts_.pop_front();
  }

  double per_second(TimePoint now) const {
    std::uint64_t sum = 0;
    for (const auto& [time, count] : counts_) {
      if (time + kWindow > now) sum += count;
    }
    const auto span = std::clamp<std::chrono::milliseconds>(
        now - since_, std::chrono::milliseconds(1'000), kWindow);
    return static_cast<double>(sum) * 1000.0 / static_cast<double>(span.count());
  }

 private:
  static constexpr std::chrono::milliseconds kGrain{100};

  std::deque<std::pair<TimePoint, std::uint64_t>> counts_;
  // First count ever: a young job is measured over its age.
  TimePoint since_{};
};

}  // namespace mh::scheduler
