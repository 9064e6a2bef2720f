// How many connections fit into the process's limit of descriptors.
#include "server/descriptors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace mh::server {
namespace {

TEST(Descriptors, AreRaisedAsFarAsTheSystemAllows) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{std::min<rlim_t>(before.rlim_max, 100), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const std::size_t raised = raise_descriptor_limit();
  EXPECT_EQ(raised, std::min<rlim_t>(before.rlim_max, 1U << 20));
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, raised);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(Descriptors, LeaveRoomForFilesBesideTheConnections) {
  EXPECT_EQ(connections_within(1'048'576, 10'000), 10'000U);
  EXPECT_EQ(connections_within(20'000, 20'000), 14'952U);
  EXPECT_EQ(connections_within(1'024, 10'000), 720U);
  EXPECT_EQ(connections_within(64, 10'000), 24U);
  EXPECT_EQ(connections_within(1'024, 7), 7U);
  EXPECT_EQ(connections_within(1, 10'000), 1U);
}

}  // namespace
}  // namespace mh::server
