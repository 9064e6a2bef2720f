// Certificates without sockets: makes the server's own (P-256, self-signed), reads what one says,
// and the fingerprint by which clients know a server again.
//
// A fingerprint is the SHA-256 of the certificate's public key (SubjectPublicKeyInfo, DER), not of
// the certificate. *Rationale:* names, dates and the signer of a certificate may then change as
// often as they like while every client that ever joined still knows the server; only a new key is
// a new identity. Written in base64url, 43 characters: short enough for a line, and all 256 bits.
// Threads: any.
#pragma once

#include <openssl/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::net {

/// A new P-256 key, PEM (PKCS #8, no password).
std::string make_tls_key();

/// A host name or an address, as certificates have them.
bool is_certificate_name(const std::string& name);

/// A self-signed certificate, PEM, for a key of this process's making or of openssl's. `names` are
/// host names and addresses; the first is its common name. Errors: kInvalidArgument (a key that is
/// none, no name, a name that is neither).
Result<std::string> make_certificate(const std::string& key_pem,
                                     const std::vector<std::string>& names, TimePoint begin,
                                     TimePoint end);

struct CertificateFacts {
  /// Of its public key.
  Digest fingerprint;
  /// Host names and addresses that it is for.
  std::vector<std::string> names;
  TimePoint begin{};
  TimePoint end{};
  /// Nobody vouches for it: clients can know it by its fingerprint only.
  bool is_self_signed = false;
};

/// The first certificate of a PEM text. Errors: kInvalidArgument.
Result<CertificateFacts> read_certificate(const std::string& pem);

Digest key_fingerprint(const X509* certificate);

/// 43 characters of base64url.
std::string fingerprint_text(const Digest& fingerprint);
/// Errors: kInvalidArgument.
Result<Digest> parse_fingerprint(std::string_view text);

}  // namespace mh::net
