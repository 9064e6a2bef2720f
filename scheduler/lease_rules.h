// How long a host may keep a workunit: leases, backups and pauses from the host's measured speed
// (rules 3, 5, 11, 12 of coordinator.h). Pure functions of small values.
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/clock.h"
#include "scheduler/coordinator.h"

namespace mh::scheduler {

// Seconds per GFLOP of one host on one kind of work: smoothed mean and mean deviation. It falls
// quickly and rises slowly; the first measurement, which includes the start of the trainer and the
// download of the data, is forgotten when the second is shorter.
struct SpeedEstimate {
  double mean = 0;
  double deviation = 0;
  std::uint32_t count = 0;

  bool is_known() const { return mean > 0; }
  // Takes in one measurement. A duration of less than a millisecond counts as one.
  void add(std::chrono::milliseconds duration, double gflop);
  // It was not done after so long: counts, but changes something only if it says more than is
  // known.
  void add_at_least(std::chrono::milliseconds duration, double gflop);
  // Expected time for so much work; none when nothing was measured.
  std::optional<std::chrono::milliseconds> expected(double gflop) const;
  // The same with the deviation twice on top: what is rarely exceeded.
  std::optional<std::chrono::milliseconds> expected_late(double gflop) const;
};

// What a job's faster hosts need: near the lower quartile of its measurements, because the last
// results of a step are those of its slowest hosts and must not move it. Its deviation is half.
class TypicalSpeed {
 public:
  void add(std::chrono::milliseconds duration, double gflop);
  const SpeedEstimate& estimate() const { return estimate_; }

 private:
  SpeedEstimate estimate_;
  std::uint64_t count_ = 0;
};

// Length of a lease that is the `position`-th (from 1) in its host's queue. `typical`: of the job's
// hosts together, for a host whose own speed is unknown.
std::chrono::milliseconds lease_length(const CoordinatorOptions& options,
                                       const SpeedEstimate& speed, const SpeedEstimate& typical,
                                       double gflop, std::size_t position);

// Age at which such a lease is overdue and may be backed up.
std::chrono::milliseconds backup_after(const CoordinatorOptions& options,
                                       const SpeedEstimate& speed, const SpeedEstimate& typical,
                                       double gflop, std::size_t position);

// Until when a lease can be renewed.
TimePoint renewable_until(const CoordinatorOptions& options, TimePoint leased,
                          std::chrono::milliseconds length);

// Pause of a host after so many failures in a row (0: none).
std::chrono::milliseconds failure_pause(const CoordinatorOptions& options,
                                        std::uint32_t failures_in_row);

}  // namespace mh::scheduler
