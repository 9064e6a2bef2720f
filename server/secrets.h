// Random identifiers and bearer secrets from the operating system's generator, and their hashes.
// Secrets are kept only as SHA-256: they carry 256 random bits, so no slow hash is needed.
// Threads: free functions, callable from anywhere.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proto/base/sha256.h"

namespace mh::server {

// `bytes` random bytes as lower-case hex.
std::string random_hex(std::size_t bytes);
// A new secret: prefix, then 32 random bytes in base64url (43 characters).
std::string make_secret(std::string_view prefix);
// What is stored of a secret.
Digest secret_hash(std::string_view secret);

}  // namespace mh::server
