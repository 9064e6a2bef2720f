// Which Manyhands is this?
#pragma once

#include <cstdint>
#include <string_view>

namespace mh {

inline constexpr std::string_view kVersion = "0.1.0";
// Spoken between client and server; a server speaks exactly one.
inline constexpr std::uint32_t kProtocolVersion = 1;

}  // namespace mh
