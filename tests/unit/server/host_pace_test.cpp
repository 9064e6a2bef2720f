// Hosts that ask too often: when they are slowed, how much, and that they are never banned.
#include "server/host_pace.h"

#include <gtest/gtest.h>

namespace mh::server {
namespace {

using std::chrono::milliseconds;

class HostPaceTest : public testing::Test {
 protected:
  // Calls that bring nothing, `gap` apart, until one is refused; how many passed.
  int spend(std::uint64_t host, milliseconds gap = milliseconds(0)) {
    for (int passed = 0; passed < 1'000; ++passed) {
      now += gap;
      if (pace.take(host, now)) return passed;
    }
    return 1'000;
  }

  HostPace pace;
  TimePoint now = from_unix_ms(1'700'000'000'000);
};

TEST_F(HostPaceTest, LetsABurstPassAndThenSlowsTheHost) {
  EXPECT_EQ(spend(1), static_cast<int>(HostPace::kBurst));
  // The one that was refused in spend() was told to wait for kWaitMin.
  EXPECT_EQ(pace.take(1, now), 2 * HostPace::kWaitMin);
  EXPECT_EQ(pace.take(1, now), 4 * HostPace::kWaitMin);
  for (int i = 0; i < 10; ++i) pace.take(1, now);
  EXPECT_EQ(pace.take(1, now), HostPace::kWaitMax);
}

TEST_F(HostPaceTest, SlowsOneHostAndNoOther) {
  spend(1);
  EXPECT_EQ(pace.take(2, now), std::nullopt);
}

TEST_F(HostPaceTest, IsForgivenWithTime) {
  spend(1);
  now += HostPace::kFillInterval - milliseconds(1);
  EXPECT_NE(pace.take(1, now), std::nullopt);
  now += milliseconds(1);
  EXPECT_EQ(pace.take(1, now), std::nullopt);
  now += HostPace::kFillInterval * static_cast<int>(HostPace::kBurst);
  EXPECT_EQ(spend(1), static_cast<int>(HostPace::kBurst));
  // The wait begins anew after a full rest.
  EXPECT_EQ(pace.take(1, now), 2 * HostPace::kWaitMin);
}

TEST_F(HostPaceTest, NeverSlowsAHostThatObeysTheShortestBackoff) {
  EXPECT_EQ(spend(1, milliseconds(200)), 1'000);
}

TEST_F(HostPaceTest, CallsThatWereUsefulCostNothing) {
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(pace.take(1, now), std::nullopt);
    pace.refund(1, now);
  }
  EXPECT_EQ(pace.host_count(), 0U);
}

TEST_F(HostPaceTest, ForgetsHostsThatRest) {
  for (std::uint64_t host = 1; host <= 1'000; ++host) pace.take(host, now);
  EXPECT_EQ(pace.host_count(), 1'000U);
  now += std::chrono::minutes(1);
  pace.take(5'000, now);
  EXPECT_EQ(pace.host_count(), 1U);
}

TEST_F(HostPaceTest, AClockThatJumpsBackDoesNoHarm) {
  pace.take(1, now);
  now -= std::chrono::hours(1);
  EXPECT_EQ(pace.take(1, now), std::nullopt);
}

}  // namespace
}  // namespace mh::server
