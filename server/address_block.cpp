// See address_block.h.
#include "server/address_block.h"

#include <boost/asio/ip/address.hpp>
#include <cstdint>

namespace mh::server {
namespace {

namespace ip = boost::asio::ip;

// RFC 1918, RFC 6598 (carrier-grade NAT), RFC 3927.
bool is_private(std::uint32_t address) {
  const auto is_in = [address](std::uint32_t network, unsigned bits) {
    return address >> (32 - bits) == network >> (32 - bits);
  };
  return is_in(0x0A000000, 8) || is_in(0xAC100000, 12) || is_in(0xC0A80000, 16) ||
         is_in(0x64400000, 10) || is_in(0xA9FE0000, 16);
}

std::string block_of(const ip::address_v4& address) {
  const std::uint32_t number = address.to_uint();
  if (address.is_loopback() || address.is_unspecified() || is_private(number)) return {};
  return ip::address_v4(number & 0xFFFFFF00U).to_string() + "/24";
}

}  // namespace

std::string address_block(std::string_view text) {
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(text), error);
  if (error) return {};
  if (address.is_v4()) return block_of(address.to_v4());
  const ip::address_v6 wide = address.to_v6();
  if (wide.is_v4_mapped()) return block_of(ip::make_address_v4(ip::v4_mapped, wide));
  ip::address_v6::bytes_type bytes = wide.to_bytes();
  // fc00::/7: unique local addresses (RFC 4193).
  const bool is_local = (bytes[0] & 0xFE) == 0xFC;
  if (wide.is_loopback() || wide.is_unspecified() || wide.is_link_local() || is_local) return {};
  std::fill(bytes.begin() + 6, bytes.end(), std::uint8_t{0});
  return ip::address_v6(bytes).to_string() + "/48";
}

}  // namespace mh::server
