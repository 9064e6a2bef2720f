// Little-endian numbers, base64, CRC-32 and a reader that cannot run past the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "proto/base/result.h"

namespace mh {

static_assert(std::endian::native == std::endian::little, "formats are written as they lie");

// Reads a number at data. Requires: sizeof(T) readable bytes.
template <class T>
T load_le(const std::byte* data) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}
template <class T>
void store_le(std::byte* data, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(data, &value, sizeof value);
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes numbers and spans off the front; past the end is an error, never a read.
class BytesReader {
 public:
  explicit BytesReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  std::size_t remaining() const { return rest_.size(); }
  template <class T>
  Result<T> number() {
    MH_TRY(const auto raw, take(sizeof(T)));
    return load_le<T>(raw.data());
  }
  // Errors: kOutOfRange.
  Result<std::span<const std::byte>> take(std::uint64_t count) {
    if (count > rest_.size())
      return fail(Errc::kOutOfRange, "cut short: " + std::to_string(count) + " bytes wanted, " +
                                         std::to_string(rest_.size()) + " left");
    const auto front = rest_.first(static_cast<std::size_t>(count));
    rest_ = rest_.subspan(static_cast<std::size_t>(count));
    return front;
  }

 private:
  std::span<const std::byte> rest_;
};

// CRC-32 (ISO-HDLC, zlib's).
std::uint32_t crc32(std::span<const std::byte> bytes);

// Standard alphabet, padded; and the URL alphabet, unpadded.
std::string to_base64(std::span<const std::byte> bytes);
std::string to_base64url(std::span<const std::byte> bytes);
// Either alphabet, padded or not. Errors: kInvalidArgument.
Result<std::vector<std::byte>> from_base64(std::string_view text);

}  // namespace mh
