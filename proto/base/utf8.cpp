// See utf8.h.
#include "proto/base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace mh {
namespace {

std::string shown(std::string_view text, char otherwise, std::size_t bytes_max) {
  std::string plain;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    // U+0080 to U+009F are control characters, too.
    const bool is_c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    const bool is_shown = length > 0 && first >= 0x20 && first != 0x7F && !is_c1;
    const std::size_t taken = std::max<std::size_t>(length, 1);
    if (plain.size() + (is_shown ? taken : 1) > bytes_max) break;
    if (is_shown) plain += text.substr(0, taken);
    if (!is_shown) plain += otherwise;
    text.remove_prefix(taken);
  }
  return plain;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0)) return 0;
  if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) >= 0x90)) return 0;
  return length;
}

std::optional<std::size_t> find_bad_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::string printable(std::string_view text) { return shown(text, '?', SIZE_MAX); }

std::string plain_text(std::string_view text, std::size_t bytes_max) {
  return shown(text, ' ', bytes_max);
}

}  // namespace mh
