// Is a text well-formed UTF-8, and may a terminal see it? Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mh {

// Length of the well-formed UTF-8 sequence (RFC 3629) at the front of `text`, or 0. Requires: not
// empty.
std::size_t utf8_length(std::string_view text);

// Offset of the first byte that belongs to no well-formed sequence; none: all of it is UTF-8.
std::optional<std::size_t> find_bad_utf8(std::string_view text);

// Text of a peer made safe for a terminal: what is no UTF-8 and control characters, those of two
// bytes too, are '?'.
std::string printable(std::string_view text);

// The same with blanks, and of at most `bytes_max` bytes, cut between characters: fit for a log and
// for a message about what was refused.
std::string plain_text(std::string_view text, std::size_t bytes_max);

}  // namespace mh
