// See lease_rules.h.
#include "scheduler/lease_rules.h"

#include <algorithm>
#include <cmath>

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

// A day: beyond it a prediction says nothing, and sums of times stay far from overflow.
constexpr double kExpectedMsMax = 86'400'000;
// Work of nearly no FLOPs still takes time; keeps divisions finite.
constexpr double kGflopMin = 1e-9;

milliseconds to_milliseconds(double ms) {
  return milliseconds(static_cast<std::int64_t>(std::clamp(std::ceil(ms), 1.0, kExpectedMsMax)));
}

milliseconds scaled(milliseconds duration, double factor) {
  return to_milliseconds(static_cast<double>(duration.count()) * factor);
}

}  // namespace

void SpeedEstimate::add(milliseconds duration, double gflop) {
  const double ms = std::max<double>(1, static_cast<double>(duration.count()));
  const double measured = ms / 1000 / std::max(gflop, kGflopMin);
  if (!is_known()) {
    mean = measured;
    deviation = measured / 2;
    return;
  }
  deviation += (std::abs(measured - mean) - deviation) / 4;
  mean += (measured - mean) * (measured < mean ? 0.5 : 0.125);
}

std::optional<milliseconds> SpeedEstimate::expected(double gflop) const {
  if (!is_known()) return std::nullopt;
  return to_milliseconds(mean * std::max(gflop, kGflopMin) * 1000);
}

std::optional<milliseconds> SpeedEstimate::expected_late(double gflop) const {
  if (!is_known()) return std::nullopt;
  return to_milliseconds((mean + 2 * deviation) * std::max(gflop, kGflopMin) * 1000);
}

milliseconds lease_length(const CoordinatorOptions& options, const SpeedEstimate& speed,
                          double gflop, std::size_t position) {
  const auto expected = speed.expected_late(gflop);
  if (!expected) return options.lease_unknown;
  const milliseconds length =
      scaled(*expected, options.lease_length_factor * static_cast<double>(position));
  return std::clamp(length, options.lease_min, options.lease_max);
}

milliseconds backup_after(const CoordinatorOptions& options, const SpeedEstimate& speed,
                          double gflop, std::size_t position) {
  const auto expected = speed.expected_late(gflop);
  if (!expected) return options.backup_unknown;
  return std::max(options.backup_min,
                  scaled(*expected, options.backup_factor * static_cast<double>(position)));
}

TimePoint renewable_until(const CoordinatorOptions& options, TimePoint leased,
                          milliseconds length) {
  return leased + std::max(options.lease_age_min, scaled(length, options.lease_age_factor));
}

milliseconds failure_pause(const CoordinatorOptions& options, std::uint32_t failures_in_row) {
  if (failures_in_row == 0) return milliseconds(0);
  const double factor = std::exp2(std::min<std::uint32_t>(failures_in_row - 1, 30));
  return std::min(options.failure_pause_max, scaled(options.failure_pause, factor));
}

}  // namespace mh::scheduler
