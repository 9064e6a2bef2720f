// Names of the blobs of a simulated world: like SHA-256 digests in that equal content has equal
// names and other content another; made by mixing numbers, which is all that is needed here.
// No threads.
#pragma once

#include <cstdint>
#include <cstring>

#include "proto/base/random.h"
#include "proto/base/sha256.h"

namespace mh::sim {

enum class BlobPurpose : std::uint64_t {
  kJob = 1,
  kManifest,
  kChunk,
  kFirstParameters,
  kUpdate,
  kWrongUpdate,
  kOptimizer,
};

inline Digest blob_name(BlobPurpose purpose, std::uint64_t a, std::uint64_t b = 0,
                        std::uint64_t c = 0) {
  Digest digest;
  std::uint64_t words[4];
  words[0] = derive_key(derive_key(a, b, c), static_cast<std::uint64_t>(purpose));
  words[1] = a;
  words[2] = b;
  words[3] = (static_cast<std::uint64_t>(purpose) << 56) ^ c;
  std::memcpy(digest.bytes.data(), words, sizeof words);
  return digest;
}

inline std::uint64_t first_word(const Digest& digest) {
  std::uint64_t word = 0;
  std::memcpy(&word, digest.bytes.data(), sizeof word);
  return word;
}

// Mixes digests in their order.
class DigestMixer {
 public:
  explicit DigestMixer(const Digest& start) : state_(first_word(start)) {}

  void add(const Digest& digest) { state_ = derive_key(state_, first_word(digest), ++count_); }
  Digest finish() const { return blob_name(BlobPurpose::kFirstParameters, state_, count_); }

 private:
  std::uint64_t state_;
  std::uint64_t count_ = 0;
};

}  // namespace mh::sim
