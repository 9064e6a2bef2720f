#include "proto/base/sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "proto/base/check.h"

namespace mh {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

EVP_MD_CTX* as_context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

std::string Digest::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const std::uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

Result<Digest> Digest::from_hex(std::string_view text) {
  if (text.size() != 64)
    return fail(Errc::kInvalidArgument, "a digest has 64 lower-case hex digits, found " +
                                            std::to_string(text.size()) + " characters");
  Digest digest;
  for (std::size_t i = 0; i < 32; ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0)
      return fail(Errc::kInvalidArgument, "a digest has lower-case hex digits only");
    digest.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return digest;
}

Result<Digest> Digest::from_bytes(std::string_view raw) {
  if (raw.size() != 32)
    return fail(Errc::kInvalidArgument,
                "a digest has 32 bytes, found " + std::to_string(raw.size()));
  Digest digest;
  std::memcpy(digest.bytes.data(), raw.data(), raw.size());
  return digest;
}

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(as_context(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  MH_CHECK(context_ != nullptr);
  MH_CHECK(EVP_DigestInit_ex(as_context(context_.get()), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> data) {
  MH_CHECK(EVP_DigestUpdate(as_context(context_.get()), data.data(), data.size()) == 1);
}

void Sha256::update(std::string_view data) {
  update(std::as_bytes(std::span(data.data(), data.size())));
}

Digest Sha256::finish() {
  Digest digest;
  unsigned size = 0;
  MH_CHECK(EVP_DigestFinal_ex(as_context(context_.get()), digest.bytes.data(), &size) == 1);
  MH_CHECK(size == digest.bytes.size());
  MH_CHECK(EVP_DigestInit_ex(as_context(context_.get()), EVP_sha256(), nullptr) == 1);
  return digest;
}

Digest sha256(std::span<const std::byte> data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

Digest sha256(std::string_view data) {
  return sha256(std::as_bytes(std::span(data.data(), data.size())));
}

bool constant_time_equal(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

bool constant_time_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace mh
