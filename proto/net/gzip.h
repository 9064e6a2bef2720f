// gzip for message bodies. The limit on what comes out holds while inflating, not after.
// Pure; threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace mh::net {

/// Level 1: messages are small, time matters more.
std::string gzip_compress(std::string_view plain);

/// Errors: kInvalidArgument (not one whole gzip stream, something behind it), kResourceExhausted
/// (more than bytes_max come out).
Result<std::string> gzip_inflate(std::string_view packed, std::uint64_t bytes_max);

}  // namespace mh::net
