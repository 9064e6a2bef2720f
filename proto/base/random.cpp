#include "proto/base/random.h"

#include <sys/random.h>

#include <cerrno>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh {
namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53U;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
constexpr std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

std::array<std::uint32_t, 4> Philox4x32::block(std::uint64_t index) const {
  return philox4x32({low(index), high(index), low(stream_), high(stream_)},
                    {low(key_), high(key_)});
}

std::uint32_t Philox4x32::next() {
  if (used_ == 4) {
    words_ = block(next_block_++);
    used_ = 0;
  }
  return words_[used_++];
}

std::uint64_t Philox4x32::next64() {
  const std::uint64_t first = next();
  return first | (std::uint64_t{next()} << 32);
}

std::uint64_t Philox4x32::below(std::uint64_t bound) {
  MH_CHECK(bound > 0);
  const std::uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound
  while (true) {
    const std::uint64_t value = next64();
    if (value >= excess) return value % bound;
  }
}

std::uint64_t derive_key(std::uint64_t seed, std::uint64_t purpose, std::uint64_t index) {
  const auto words =
      philox4x32({low(index), high(index), low(purpose), high(purpose)}, {low(seed), high(seed)});
  return words[0] | (std::uint64_t{words[1]} << 32);
}

Permutation::Permutation(std::uint64_t size, std::uint64_t key) : size_(size) {
  MH_CHECK(size <= (std::uint64_t{1} << 62));
  while (half_bits_ < 31 && (std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
  for (std::size_t i = 0; i < round_keys_.size(); ++i)
    round_keys_[i] = derive_key(key, 0x5045524D, i);
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (const std::uint64_t key : round_keys_) {
    const std::uint64_t swapped = left ^ (mix(right + key) & mask);
    left = right;
    right = swapped;
  }
  return (left << half_bits_) | right;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  MH_CHECK(index < size_);
  do {
    index = encrypt(index);
  } while (index >= size_);
  return index;
}

std::vector<std::byte> secure_random_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got = getrandom(bytes.data() + done, count - done, 0);
    MH_CHECK(got > 0 || errno == EINTR);
    if (got > 0) done += static_cast<std::size_t>(got);
  }
  return bytes;
}

std::string random_token() { return to_base64url(secure_random_bytes(32)); }

}  // namespace mh
