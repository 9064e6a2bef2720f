// Leases, backups and pauses from measured speed.
#include "scheduler/lease_rules.h"

#include <gtest/gtest.h>

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

TEST(LeaseRules, LeaseOfAnUnknownHostIsTheOptionsOne) {
  const CoordinatorOptions options;
  EXPECT_EQ(lease_length(options, SpeedEstimate{}, 5, 1), options.lease_unknown);
  EXPECT_EQ(backup_after(options, SpeedEstimate{}, 5, 1), options.backup_unknown);
}

TEST(LeaseRules, LeaseIsEightTimesTheExpectedAndNeverShorterThanTheFloor) {
  const CoordinatorOptions options;
  const SpeedEstimate fast{0.001, 0};
  EXPECT_EQ(lease_length(options, fast, 1, 1), milliseconds(5'000));
  EXPECT_EQ(backup_after(options, fast, 1, 1), milliseconds(250));
  const SpeedEstimate slow{2, 0.5};
  // (2 s + 2 × 0.5 s) × 8, and twice that for the second in the queue.
  EXPECT_EQ(lease_length(options, slow, 1, 1), milliseconds(24'000));
  EXPECT_EQ(lease_length(options, slow, 1, 2), milliseconds(48'000));
  EXPECT_EQ(backup_after(options, slow, 1, 1), milliseconds(8'000));
  const SpeedEstimate glacial{1e6, 0};
  EXPECT_EQ(lease_length(options, glacial, 1, 1), options.lease_max);
}

TEST(LeaseRules, SpeedFallsFastAndRisesSlowly) {
  SpeedEstimate speed;
  EXPECT_FALSE(speed.is_known());
  speed.add(milliseconds(8'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 8);
  speed.add(milliseconds(2'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 5);
  speed.add(milliseconds(13'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 6);
  EXPECT_EQ(speed.expected(0.5), milliseconds(3'000));
}

TEST(LeaseRules, MeasurementsWithoutTimeOrWorkStayFinite) {
  SpeedEstimate speed;
  speed.add(milliseconds(0), 0);
  EXPECT_TRUE(speed.is_known());
  EXPECT_GE(speed.expected(0)->count(), 1);
  EXPECT_LE(speed.expected(1e300)->count(), 86'400'000);
}

TEST(LeaseRules, PauseDoublesUpToItsLimit) {
  const CoordinatorOptions options;
  EXPECT_EQ(failure_pause(options, 0), milliseconds(0));
  EXPECT_EQ(failure_pause(options, 1), milliseconds(500));
  EXPECT_EQ(failure_pause(options, 4), milliseconds(4'000));
  EXPECT_EQ(failure_pause(options, 4'000'000'000), options.failure_pause_max);
}

}  // namespace
}  // namespace mh::scheduler
