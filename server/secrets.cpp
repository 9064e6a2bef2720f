// See secrets.h.
#include "server/secrets.h"

#include "proto/base/random.h"

namespace mh::server {

std::string random_hex(std::size_t bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : secure_random_bytes(bytes)) {
    text.push_back(kHex[std::to_integer<unsigned>(byte) >> 4]);
    text.push_back(kHex[std::to_integer<unsigned>(byte) & 15]);
  }
  return text;
}

std::string make_secret(std::string_view prefix) { return std::string(prefix) + random_token(); }

Digest secret_hash(std::string_view secret) { return sha256(secret); }

}  // namespace mh::server
