// See signature.h.
#include "proto/base/signature.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <algorithm>

#include "proto/base/check.h"
#include "proto/base/openssl_pointers.h"

namespace mh {
namespace {

constexpr std::size_t kPemBytesMax = 4096;

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

PublicKey public_bytes(const EVP_PKEY* key) {
  PublicKey bytes{};
  std::size_t size = bytes.size();
  MH_CHECK(EVP_PKEY_get_raw_public_key(key, bytes.data(), &size) == 1 && size == bytes.size());
  return bytes;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

Error no_key() {
  return fail(Errc::kInvalidArgument,
              "is no Ed25519 public key: 64 hex digits or a PEM file are needed");
}

}  // namespace

std::string to_hex(const PublicKey& key) {
  Digest digest;
  digest.bytes = key;
  return digest.hex();
}

Result<PublicKey> public_key_from_bytes(std::string_view bytes) {
  const auto digest = Digest::from_bytes(bytes);
  if (!digest) return fail(Errc::kInvalidArgument, "a public key has 32 bytes");
  return digest->bytes;
}

Result<PublicKey> parse_public_key(std::string_view text) {
  text = trimmed(text);
  if (text.size() > kPemBytesMax) return no_key();
  if (const auto digest = Digest::from_hex(text)) return digest->bytes;
  const BioPointer bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  const KeyPointer key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  if (key == nullptr || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) return no_key();
  return public_bytes(key.get());
}

bool is_signed_by(const PublicKey& key, std::string_view text, std::string_view signature) {
  const KeyPointer handle(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  const DigestPointer context(EVP_MD_CTX_new());
  if (handle == nullptr || context == nullptr) return false;
  if (EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, handle.get()) != 1)
    return false;
  return EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(text),
                          text.size()) == 1;
}

void SigningKey::Free::operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }

SigningKey SigningKey::make() {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  MH_CHECK(key != nullptr);
  return SigningKey(key);
}

Result<SigningKey> SigningKey::from_pem(std::string_view pem) {
  if (pem.size() > kPemBytesMax) return fail(Errc::kInvalidArgument, "is no Ed25519 private key");
  const BioPointer bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // Never ask a terminal for a passphrase.
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  SigningKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key.key_ == nullptr || EVP_PKEY_get_id(key.key_.get()) != EVP_PKEY_ED25519)
    return fail(Errc::kInvalidArgument, "is no Ed25519 private key");
  return key;
}

std::string SigningKey::pem() const {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  MH_CHECK(bio != nullptr && PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0,
                                                      nullptr, nullptr) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

PublicKey SigningKey::public_key() const { return public_bytes(key_.get()); }

Signature SigningKey::sign(std::string_view text) const {
  Signature signature{};
  std::size_t size = signature.size();
  const DigestPointer context(EVP_MD_CTX_new());
  MH_CHECK(context != nullptr);
  MH_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1);
  MH_CHECK(EVP_DigestSign(context.get(), signature.data(), &size, raw(text), text.size()) == 1);
  return signature;
}

Digest SigningKey::derive(std::string_view purpose) const {
  Digest seed;
  std::size_t size = seed.bytes.size();
  MH_CHECK(EVP_PKEY_get_raw_private_key(key_.get(), seed.bytes.data(), &size) == 1);
  return keyed_hash(seed, purpose);
}

Digest keyed_hash(const Digest& secret, std::string_view text) {
  Digest hash;
  unsigned size = 0;
  MH_CHECK(HMAC(EVP_sha256(), secret.bytes.data(), static_cast<int>(secret.bytes.size()), raw(text),
                text.size(), hash.bytes.data(), &size) != nullptr);
  MH_CHECK(size == hash.bytes.size());
  return hash;
}

}  // namespace mh
