// Ed25519 signatures (OpenSSL): the server signs what it says of its steps, anybody checks it.
// Signing is deterministic: one key and one text give one signature. Threads: any.
#pragma once

#include <openssl/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh {

// The 32 bytes of RFC 8032, and the 64 of a signature.
using PublicKey = std::array<std::uint8_t, 32>;
using Signature = std::array<std::uint8_t, 64>;

std::string to_hex(const PublicKey& key);
// From 64 lower-case hex digits or the PEM text of a public key; blanks around it are ignored.
// Errors: kInvalidArgument.
Result<PublicKey> parse_public_key(std::string_view text);
// Errors: kInvalidArgument unless exactly 32 bytes.
Result<PublicKey> public_key_from_bytes(std::string_view raw);

// `signature` is as it came: any number of bytes.
bool is_signed_by(const PublicKey& key, std::string_view text, std::string_view signature);

class SigningKey {
 public:
  // A new one, from the operating system's generator.
  static SigningKey make();
  // From the PEM text of a private key (PKCS #8). Errors: kInvalidArgument.
  static Result<SigningKey> from_pem(std::string_view pem);

  std::string pem() const;
  PublicKey public_key() const;
  Signature sign(std::string_view text) const;
  // Another secret that follows from this one; one for each purpose.
  Digest derive(std::string_view purpose) const;

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const;
  };
  explicit SigningKey(EVP_PKEY* key) : key_(key) {}
  std::unique_ptr<EVP_PKEY, Free> key_;
};

// HMAC-SHA-256.
Digest keyed_hash(const Digest& secret, std::string_view text);

}  // namespace mh
