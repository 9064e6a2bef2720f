// JSON from strangers: bounded in size and nesting, no repeated keys, no exceptions.
// Include only in .cpp files. Pure; no threads.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "proto/base/result.h"

namespace mh {

/// Parses a whole text into `out` (json converts from everything, so it fits no Result).
/// Errors: kInvalidArgument with what is wrong: longer than bytes_max, nested deeper than
/// depth_max, malformed (with the byte where), a key that stands twice in one object.
Status parse_strict_json(std::string_view text, std::uint64_t bytes_max, int depth_max,
                         nlohmann::json& out);

}  // namespace mh
