// SHA-256 (OpenSSL): the name of every blob.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace mh {

struct Digest {
  std::array<std::uint8_t, 32> bytes{};

  // 64 lower-case hex digits.
  std::string hex() const;
  // Errors: kInvalidArgument unless exactly 64 lower-case hex digits.
  static Result<Digest> from_hex(std::string_view text);
  // Errors: kInvalidArgument unless exactly 32 bytes (how digests travel in messages).
  static Result<Digest> from_bytes(std::string_view raw);
  // The 32 bytes as a string, for messages.
  std::string raw() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  bool is_zero() const { return *this == Digest{}; }

  friend auto operator<=>(const Digest&, const Digest&) = default;
};

// Hashes a stream. Movable; one thread.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> data);
  void update(std::string_view data);
  // The digest of all bytes so far; starts anew.
  Digest finish();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

Digest sha256(std::span<const std::byte> data);
Digest sha256(std::string_view data);

// Compares without telling by its duration where the first difference is.
bool constant_time_equal(const Digest& a, const Digest& b);
bool constant_time_equal(std::string_view a, std::string_view b);

}  // namespace mh

template <>
struct std::hash<mh::Digest> {
  std::size_t operator()(const mh::Digest& digest) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, digest.bytes.data(), sizeof value);
    return value;
  }
};
