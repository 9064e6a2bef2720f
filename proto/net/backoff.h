// Exponential back-off with full jitter: attempt n waits a uniform random time up to
// min(longest, first * 2^n). *Rationale:* a thousand volunteers that lost the server at the same
// moment must not come back at the same moment. Pure: the random number is an argument.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "proto/base/random.h"

namespace mh::net {

struct BackoffOptions {
  std::chrono::milliseconds first = std::chrono::milliseconds(250);
  std::chrono::milliseconds longest = std::chrono::seconds(60);
};

/// The upper end of the wait before attempt `failure_count + 1`. Requires: failure_count >= 0.
inline std::chrono::milliseconds backoff_ceiling(const BackoffOptions& options,
                                                 std::uint32_t failure_count) {
  std::int64_t ceiling = options.first.count();
  for (std::uint32_t i = 1; i < failure_count && ceiling < options.longest.count(); ++i) {
    ceiling *= 2;
  }
  return std::chrono::milliseconds(std::min<std::int64_t>(ceiling, options.longest.count()));
}

/// Counts failures and draws the waits.
class Backoff {
 public:
  explicit Backoff(std::uint64_t seed, BackoffOptions options = {})
      : options_(options), random_(seed) {}

  /// The wait after one more failure.
  std::chrono::milliseconds next() {
    if (failure_count_ < 64) ++failure_count_;
    const auto ceiling =
        static_cast<std::uint64_t>(backoff_ceiling(options_, failure_count_).count());
    return std::chrono::milliseconds(static_cast<std::int64_t>(random_.below(ceiling + 1)));
  }
  /// After a success.
  void reset() { failure_count_ = 0; }
  std::uint32_t failure_count() const { return failure_count_; }

 private:
  BackoffOptions options_;
  Philox4x32 random_;
  std::uint32_t failure_count_ = 0;
};

}  // namespace mh::net
