// Leases, backups and pauses from measured speed.
#include "scheduler/lease_rules.h"

#include <gtest/gtest.h>

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

TEST(LeaseRules, LeaseOfAnUnknownHostIsTheOptionsOne) {
  const CoordinatorOptions options;
  EXPECT_EQ(lease_length(options, SpeedEstimate{}, {}, 5, 1), options.lease_unknown);
  EXPECT_EQ(backup_after(options, SpeedEstimate{}, {}, 5, 1), options.backup_unknown);
}

TEST(LeaseRules, LeaseIsEightTimesTheExpectedAndNeverShorterThanTheFloor) {
  const CoordinatorOptions options;
  const SpeedEstimate fast{0.001, 0};
  EXPECT_EQ(lease_length(options, fast, {}, 1, 1), milliseconds(5'000));
  EXPECT_EQ(backup_after(options, fast, {}, 1, 1), milliseconds(250));
  const SpeedEstimate slow{2, 0.5};
  // (2 s + 2 × 0.5 s) × 8, and twice that for the second in the queue.
  EXPECT_EQ(lease_length(options, slow, {}, 1, 1), milliseconds(24'000));
  EXPECT_EQ(lease_length(options, slow, {}, 1, 2), milliseconds(48'000));
  EXPECT_EQ(backup_after(options, slow, {}, 1, 1), milliseconds(6'000));
  const SpeedEstimate glacial{1e6, 0};
  EXPECT_EQ(lease_length(options, glacial, {}, 1, 1), options.lease_max);
}

TEST(LeaseRules, BothDeadlinesFollowTheSpreadNotTheMeanAlone) {
  const CoordinatorOptions options;
  SpeedEstimate steady;
  SpeedEstimate erratic;
  for (int i = 0; i < 40; ++i) {
    steady.add(milliseconds(4'000), 1);
    erratic.add(milliseconds(i % 2 == 0 ? 1'000 : 16'000), 1);
  }
  // A steady host is backed up after twice its time, an erratic one of like mean much later.
  EXPECT_NEAR(static_cast<double>(backup_after(options, steady, {}, 1, 1).count()), 8'000, 5);
  EXPECT_GT(backup_after(options, erratic, {}, 1, 1), 2 * 2 * *erratic.expected(1));
  EXPECT_GT(lease_length(options, erratic, {}, 1, 1), 2 * 8 * *erratic.expected(1));
  for (const SpeedEstimate& speed : {steady, erratic}) {
    EXPECT_LT(backup_after(options, speed, {}, 1, 1), lease_length(options, speed, {}, 1, 1));
  }
}

TEST(LeaseRules, SpeedFallsFastAndRisesSlowly) {
  SpeedEstimate speed;
  EXPECT_FALSE(speed.is_known());
  speed.add(milliseconds(8'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 8);
  speed.add(milliseconds(16'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 9);
  speed.add(milliseconds(1'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 5);
  speed.add(milliseconds(13'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 6);
  EXPECT_EQ(speed.expected(0.5), milliseconds(3'000));
}

TEST(LeaseRules, AFirstMeasurementIsForgottenWhenTheSecondIsShorter) {
  SpeedEstimate speed;
  speed.add(milliseconds(8'000), 1);
  speed.add(milliseconds(10), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 0.01);
  EXPECT_DOUBLE_EQ(speed.deviation, 0.005);
}

TEST(LeaseRules, WhatWasNotDoneInTimeSaysThatAHostIsAtLeastSoSlow) {
  SpeedEstimate speed;
  speed.add_at_least(milliseconds(4'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 4);
  speed.add_at_least(milliseconds(1'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 4) << "it says no more than is known";
  speed.add_at_least(milliseconds(12'000), 1);
  EXPECT_DOUBLE_EQ(speed.mean, 5);
}

TEST(LeaseRules, WhatIsTypicalFollowsTheFasterHostsAndNotTheLastResultsOfAStep) {
  TypicalSpeed typical;
  for (int step = 0; step < 20; ++step) {
    for (int i = 0; i < 90; ++i) typical.add(milliseconds(900 + 2 * i), 1);
    for (int i = 0; i < 10; ++i) typical.add(milliseconds(3'600'000), 1);
  }
  EXPECT_NEAR(typical.estimate().mean, 1, 0.2);
}

TEST(LeaseRules, AHostWithoutMeasurementIsExpectedToBeTypical) {
  const CoordinatorOptions options;
  const SpeedEstimate typical{60, 30};
  EXPECT_EQ(lease_length(options, {}, typical, 1, 1), milliseconds(960'000));
  EXPECT_EQ(backup_after(options, {}, typical, 1, 1), milliseconds(240'000));
  const SpeedEstimate quick{0.01, 0.005};
  EXPECT_EQ(lease_length(options, {}, quick, 1, 1), options.lease_unknown);
  EXPECT_EQ(backup_after(options, {}, quick, 1, 1), options.backup_unknown);
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
