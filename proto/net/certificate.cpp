// See certificate.h.
#include "proto/net/certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <optional>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/openssl_pointers.h"
#include "proto/base/random.h"

namespace mh::net {
namespace {

using ExtensionPointer = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using NamesPointer = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;
using AddressPointer = std::unique_ptr<ASN1_OCTET_STRING, OpensslFree<ASN1_OCTET_STRING_free>>;

constexpr std::size_t kNameBytesMax = 253;
constexpr std::size_t kCommonNameBytesMax = 64;

BioPointer reader_of(const std::string& pem) {
  return BioPointer(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

// Without this, OpenSSL would ask the terminal for a password.
int no_password(char*, int, int, void*) { return 0; }

bool is_address(const std::string& name) {
  return AddressPointer(a2i_IPADDRESS(name.c_str())) != nullptr;
}

bool is_host_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '.' || c == '-' || c == '_' || c == '*';
         });
}

// The text that OpenSSL's reader of extensions takes: a comma or a colon in a name would be more.
Result<std::string> alternative_names(const std::vector<std::string>& names) {
  if (names.empty()) return fail(Errc::kInvalidArgument, "a certificate needs a name");
  std::string text;
  for (const std::string& name : names) {
    if (!is_certificate_name(name))
      return fail(Errc::kInvalidArgument,
                  "'" + name.substr(0, kNameBytesMax) + "' is neither a host name nor an address");
    text += (text.empty() ? "" : ",") + std::string(is_address(name) ? "IP:" : "DNS:") + name;
  }
  return text;
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  const ExtensionPointer extension(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()));
  MH_CHECK(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

void set_time(ASN1_TIME* target, TimePoint time) {
  MH_CHECK(ASN1_TIME_set(target, static_cast<std::time_t>(to_unix_ms(time) / 1000)) != nullptr);
}

TimePoint time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return from_unix_ms(static_cast<std::int64_t>(::timegm(&parts)) * 1000);
}

void set_serial_number(X509* certificate) {
  const std::vector<std::byte> random = secure_random_bytes(8);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate),
                          load_le<std::uint64_t>(random.data()) >> 1U | 1U);
}

void set_common_name(X509* certificate, std::string name) {
  name.resize(std::min(name.size(), kCommonNameBytesMax));
  X509_NAME* subject = X509_get_subject_name(certificate);
  MH_CHECK(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                                      0) == 1);
  MH_CHECK(X509_set_issuer_name(certificate, subject) == 1);
}

std::optional<std::string> text_of_name(const GENERAL_NAME* name) {
  int kind = 0;
  const void* value = GENERAL_NAME_get0_value(name, &kind);
  const auto* text = static_cast<const ASN1_STRING*>(value);
  if (kind != GEN_DNS && kind != GEN_IPADD) return std::nullopt;
  const unsigned char* bytes = ASN1_STRING_get0_data(text);
  const auto size = static_cast<std::size_t>(ASN1_STRING_length(text));
  if (kind == GEN_DNS) return std::string(reinterpret_cast<const char*>(bytes), size);
  char address[INET6_ADDRSTRLEN];
  const bool is_v4 = size == 4;
  if (!is_v4 && size != 16) return std::nullopt;
  if (::inet_ntop(is_v4 ? AF_INET : AF_INET6, bytes, address, sizeof address) == nullptr)
    return std::nullopt;
  return std::string(address);
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> texts;
  const NamesPointer names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    if (auto text = text_of_name(sk_GENERAL_NAME_value(names.get(), i))) texts.push_back(*text);
  }
  return texts;
}

}  // namespace

bool is_certificate_name(const std::string& name) { return is_address(name) || is_host_name(name); }

std::string make_tls_key() {
  const KeyPointer key(EVP_EC_gen("P-256"));
  const BioPointer bio(BIO_new(BIO_s_mem()));
  MH_CHECK(key != nullptr && bio != nullptr);
  MH_CHECK(PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
           1);
  return text_of(bio.get());
}

Result<std::string> make_certificate(const std::string& key_pem,
                                     const std::vector<std::string>& names, TimePoint begin,
                                     TimePoint end) {
  MH_TRY(const std::string alternatives, alternative_names(names));
  const BioPointer reader = reader_of(key_pem);
  const KeyPointer key(PEM_read_bio_PrivateKey(reader.get(), nullptr, no_password, nullptr));
  if (!key) {
    ERR_clear_error();
    return fail(Errc::kInvalidArgument, "the key of the TLS certificate cannot be read");
  }
  const CertificatePointer certificate(X509_new());
  MH_CHECK(certificate != nullptr);
  X509_set_version(certificate.get(), X509_VERSION_3);
  set_serial_number(certificate.get());
  set_time(X509_getm_notBefore(certificate.get()), begin);
  set_time(X509_getm_notAfter(certificate.get()), end);
  MH_CHECK(X509_set_pubkey(certificate.get(), key.get()) == 1);
  set_common_name(certificate.get(), names.front());
  add_extension(certificate.get(), NID_subject_alt_name, alternatives);
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(certificate.get(), NID_ext_key_usage, "serverAuth");
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0) {
    ERR_clear_error();
    return fail(Errc::kInvalidArgument, "the key of the TLS certificate cannot sign");
  }
  const BioPointer bio(BIO_new(BIO_s_mem()));
  MH_CHECK(bio != nullptr && PEM_write_bio_X509(bio.get(), certificate.get()) == 1);
  return text_of(bio.get());
}

Result<CertificateFacts> read_certificate(const std::string& pem) {
  const BioPointer reader = reader_of(pem);
  const CertificatePointer certificate(
      PEM_read_bio_X509(reader.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  if (!certificate) return fail(Errc::kInvalidArgument, "holds no certificate (PEM)");
  CertificateFacts facts;
  facts.fingerprint = key_fingerprint(certificate.get());
  facts.names = names_of(certificate.get());
  facts.begin = time_of(X509_get0_notBefore(certificate.get()));
  facts.end = time_of(X509_get0_notAfter(certificate.get()));
  facts.is_self_signed = X509_self_signed(certificate.get(), 1) == 1;
  ERR_clear_error();
  return facts;
}

Digest key_fingerprint(const X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  MH_CHECK(size > 0);
  const Digest digest =
      sha256(std::string_view(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)));
  OPENSSL_free(der);
  return digest;
}

std::string fingerprint_text(const Digest& fingerprint) {
  return to_base64url(std::as_bytes(std::span(fingerprint.bytes)));
}

Result<Digest> parse_fingerprint(std::string_view text) {
  const Error no_fingerprint =
      fail(Errc::kInvalidArgument, "'" + std::string(text.substr(0, 64)) +
                                       "' is no fingerprint: one has 43 letters, digits, '-', '_'");
  const auto bytes = from_base64(text);
  if (!bytes.has_value()) return no_fingerprint;
  const auto digest = Digest::from_bytes(as_text(*bytes));
  // What decodes to the same bytes and looks different is mistyped, too.
  if (!digest.has_value() || fingerprint_text(*digest) != text) return no_fingerprint;
  return *digest;
}

}  // namespace mh::net
