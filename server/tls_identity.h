// The key and the certificate by which clients know the server: its own, made at `init` and kept in
// its folder, or the admin's, from files. Threads: one; blocks on the disk.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "proto/net/certificate.h"
#include "server/server_folder.h"

namespace mh::server {

struct TlsIdentity {
  // With the certificates that lead to its authority, if there are any.
  std::string certificate_pem;
  std::string key_pem;
  net::CertificateFacts facts;

  // What join lines carry: only what no authority vouches for is known by its fingerprint. The key
  // of a certificate of an authority may change with every renewal.
  std::optional<Digest> pin() const;
};

// What the server's own certificate is for: the names given, and this machine.
std::vector<std::string> certificate_names(std::vector<std::string> given = {});

// The folder's own. What is missing is made: key and certificate (an older version made the
// folder), or a certificate for the key that is there. `names` are those of a certificate that is
// made. Errors: kDataLoss (a certificate without its key, a file that is neither), kInvalidArgument
// (a name), kInternal, kResourceExhausted.
Result<TlsIdentity> open_tls_identity(const ServerFolder& folder,
                                      const std::vector<std::string>& names, TimePoint now);

// The admin's. Errors: kInvalidArgument (cannot be read, no certificate in it).
Result<TlsIdentity> read_tls_identity(const std::filesystem::path& certificate,
                                      const std::filesystem::path& key);

// A new certificate for the folder's key, or for a new key: then every client that knew the old one
// refuses the server. Without names: those of the old one. Requires: the folder's lock is held.
// Errors: as open_tls_identity.
Result<TlsIdentity> renew_tls_identity(const ServerFolder& folder, std::vector<std::string> names,
                                       bool is_new_key, TimePoint now);

}  // namespace mh::server
