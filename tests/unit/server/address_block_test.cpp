// Networks of addresses (server/address_block.h).
#include "server/address_block.h"

#include <gtest/gtest.h>

namespace mh::server {
namespace {

TEST(AddressBlock, IsTheNetworkOfAPublicAddress) {
  EXPECT_EQ(address_block("198.51.100.77"), "198.51.100.0/24");
  EXPECT_EQ(address_block("::ffff:198.51.100.77"), "198.51.100.0/24");
  EXPECT_EQ(address_block("2001:db8:7:8::1"), "2001:db8:7::/48");
}

TEST(AddressBlock, IsEmptyForAddressesThatSayNothing) {
  for (const char* text : {"", "x", "127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1",
                           "100.64.0.1", "169.254.1.1", "fd00::1", "fe80::1", "0.0.0.0", "::"}) {
    EXPECT_EQ(address_block(text), "") << text;
  }
  EXPECT_EQ(address_block("172.32.0.1"), "172.32.0.0/24") << "next to a private network";
}

}  // namespace
}  // namespace mh::server
