// Random numbers that are a function of a key and a counter: the same on every machine, in any
// order, from any thread. Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011; the constants and test vectors of Random123).
// Initial parameters, dropout masks, the order of samples and splits come from here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mh {

// One block: four 32-bit words for a 128-bit counter under a 64-bit key.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// A uniform float in [0, 1) from the upper 24 bits; exact.
constexpr float uniform_float(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24F;
}
// A uniform double in [0, 1) from the upper 53 bits; exact.
constexpr double uniform_double(std::uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// Random access into the stream of one (key, stream): word i is the same however it is reached.
class Philox4x32 {
 public:
  explicit Philox4x32(std::uint64_t key, std::uint64_t stream = 0) : key_(key), stream_(stream) {}
  // Block `index` of this stream.
  std::array<std::uint32_t, 4> block(std::uint64_t index) const;
  // The next 32 bits, from block 0 on.
  std::uint32_t next();
  std::uint64_t next64();
  // Uniform in [0, bound) without bias. Requires: bound > 0.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t key_;
  std::uint64_t stream_;
  std::uint64_t next_block_ = 0;
  std::array<std::uint32_t, 4> words_{};
  unsigned used_ = 4;
};

// Mixes numbers into a 64-bit key: derive_key(job_seed, purpose, index).
std::uint64_t derive_key(std::uint64_t seed, std::uint64_t purpose, std::uint64_t index = 0);

// A keyed permutation of [0, size): permutation(i) in constant time and memory, by a balanced
// Feistel network over the next even number of bits, walking cycles until the value is below size.
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t key);
  // Requires: index < size().
  std::uint64_t operator()(std::uint64_t index) const;
  std::uint64_t size() const { return size_; }

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  std::uint64_t size_;
  unsigned half_bits_ = 1;
  std::array<std::uint64_t, 6> round_keys_{};
};

// Bytes from the operating system, for secrets. Blocks only in early boot.
std::vector<std::byte> secure_random_bytes(std::size_t count);
// 32 secret random bytes as 43 characters of base64url.
std::string random_token();

}  // namespace mh
