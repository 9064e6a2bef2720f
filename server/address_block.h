// The network that an address stands for when it is asked whose a host is. Pure; no threads.
#pragma once

#include <string>
#include <string_view>

namespace mh::server {

// "198.51.100.0/24" (IPv4), "2001:db8:7::/48" (IPv6). Empty for what says nothing about who is
// behind it: no address, loopback, private and link-local networks (a laboratory's own server).
std::string address_block(std::string_view address);

}  // namespace mh::server
