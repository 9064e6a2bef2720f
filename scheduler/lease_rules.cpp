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

// What is typical moves by this share at most, after so many first measurements; and the quantile
// of all measurements that it follows.
constexpr double kTypicalStep = 1.0 / 64;
constexpr double kTypicalQuantile = 0.25;

double seconds_per_gflop(milliseconds duration, double gflop) {
  const double ms = std::max<double>(1, static_cast<double>(duration.count()));
  return ms / 1000 / std::max(gflop, kGflopMin);
}

}  // namespace

void SpeedEstimate::add(milliseconds duration, double gflop) {
  const double measured = seconds_per_gflop(duration, gflop);
  ++count;
  if (!is_known() || (count == 2 && measured < mean)) {
    mean = measured;
    deviation = measured / 2;
    return;
  }
  deviation += (std::abs(measured - mean) - deviation) / 4;
  mean += (measured - mean) * (measured < mean ? 0.5 : 0.125);
}

void SpeedEstimate::add_at_least(milliseconds duration, double gflop) {
  if (is_known() && seconds_per_gflop(duration, gflop) <= mean) {
    ++count;
  } else {
    add(duration, gflop);
  }
}

std::optional<milliseconds> SpeedEstimate::expected(double gflop) const {
  if (!is_known()) return std::nullopt;
  return to_milliseconds(mean * std::max(gflop, kGflopMin) * 1000);
}

std::optional<milliseconds> SpeedEstimate::expected_late(double gflop) const {
  if (!is_known()) return std::nullopt;
  return to_milliseconds((mean + 2 * deviation) * std::max(gflop, kGflopMin) * 1000);
}

// A quantile is followed by small steps up and down that balance there.
void TypicalSpeed::add(milliseconds duration, double gflop) {
  const double measured = seconds_per_gflop(duration, gflop);
  ++count_;
  if (count_ == 1) {
    estimate_ = {measured, measured / 2};
    return;
  }
  const double step = std::max(kTypicalStep, 1.0 / static_cast<double>(count_));
  const double mean =
      measured > estimate_.mean
          ? std::min(measured, estimate_.mean * (1 + step * kTypicalQuantile))
          : std::max(measured, estimate_.mean * (1 - step * (1 - kTypicalQuantile)));
  estimate_ = {mean, mean / 2};
}

milliseconds lease_length(const CoordinatorOptions& options, const SpeedEstimate& speed,
                          const SpeedEstimate& typical, double gflop, std::size_t position) {
  const double factor = options.lease_length_factor * static_cast<double>(position);
  const auto length = [&](milliseconds late) {
    return std::clamp(scaled(late, factor), options.lease_min, options.lease_max);
  };
  if (const auto own = speed.expected_late(gflop)) return length(*own);
  const auto others = typical.expected_late(gflop);
  return others ? std::max(options.lease_unknown, length(*others)) : options.lease_unknown;
}

milliseconds backup_after(const CoordinatorOptions& options, const SpeedEstimate& speed,
                          const SpeedEstimate& typical, double gflop, std::size_t position) {
  const double factor = options.backup_factor * static_cast<double>(position);
  if (const auto own = speed.expected_late(gflop)) {
    return std::max(options.backup_min, scaled(*own, factor));
  }
  const auto others = typical.expected_late(gflop);
  return others ? std::max(options.backup_unknown, scaled(*others, factor))
                : options.backup_unknown;
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
