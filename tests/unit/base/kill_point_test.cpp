// Points kill at the passage that was asked for, and at no other.
#include "proto/base/kill_point.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

namespace mh {
namespace {

KillPoint listed("test.listed");

// Passes a point so often; 0 if the process is still alive then.
[[noreturn]] void pass(const char* wanted, int count) {
  ::setenv("MANYHANDS_KILL_POINT", wanted, 1);
  static KillPoint point("test.point");
  for (int i = 0; i < count; ++i) point.pass();
  std::_Exit(0);
}

TEST(KillPointDeathTest, KillsAtTheFirstPassage) {
  EXPECT_EXIT(pass("test.point", 1), ::testing::KilledBySignal(SIGKILL), "");
}

TEST(KillPointDeathTest, KillsAtTheNthPassageAndNotBefore) {
  EXPECT_EXIT(pass("test.point:3", 2), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(pass("test.point:3", 3), ::testing::KilledBySignal(SIGKILL), "");
}

TEST(KillPointDeathTest, DoesNothingWhenAnotherPointOrNonsenseIsAskedFor) {
  for (const char* wanted : {"test", "test.point.more", "test.point:", "test.point:x",
                             "test.point:0", "test.point:1x", "list", ""}) {
    EXPECT_EXIT(pass(wanted, 9), ::testing::ExitedWithCode(0), "") << wanted;
  }
}

TEST(KillPoint, IsInTheListOfItsProgram) {
  const auto names = KillPoint::names();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::count(names.begin(), names.end(), "test.listed"), 1);
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end()) << "a name stands twice";
  listed.pass();
}

}  // namespace
}  // namespace mh
