// How long a host may keep a workunit: leases, backups and pauses from the host's measured speed
// (rules 3, 5, 11, 12 of coordinator.h). Pure functions of small values.
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/clock.h"
#include "scheduler/coordinator.h"

namespace mh::scheduler {

// Seconds per GFLOP of one host on one kind of work: smoothed mean and mean deviation. It falls
// quickly and rises slowly, because a first measurement includes the start of the trainer and the
// download of the data.
struct SpeedEstimate {
  double mean = 0;
  double deviation = 0;

  bool is_known() const { return mean > 0; }
  // Takes in one measurement. A duration of less than a millisecond counts as one.
  void add(std::chrono::milliseconds duration, double gflop);
  // Expected time for so much work; none when nothing was measured.
  std::optional<std::chrono::milliseconds> expected(double gflop) const;
  // The same with the deviation twice on top: what is rarely exceeded.
  std::optional<std::chrono::milliseconds> expected_late(double gflop) const;
};

// Length of a lease that is the `position`-th (from 1) in its host's queue.
std::chrono::milliseconds lease_length(const CoordinatorOptions& options,
                                       const SpeedEstimate& speed, double gflop,
                                       std::size_t position);

// Age at which such a lease is overdue and may be backed up.
std::chrono::milliseconds backup_after(const CoordinatorOptions& options,
                                       const SpeedEstimate& speed, double gflop,
                                       std::size_t position);

// Until when a lease can be renewed.
TimePoint renewable_until(const CoordinatorOptions& options, TimePoint leased,
                          std::chrono::milliseconds length);

// Pause of a host after so many failures in a row (0: none).
std::chrono::milliseconds failure_pause(const CoordinatorOptions& options,
                                        std::uint32_t failures_in_row);

}  // namespace mh::scheduler
