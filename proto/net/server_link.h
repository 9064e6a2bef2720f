// What a server hands out on one line: where it is, what opens its door, and how to know it.
//
//   https://HOST:PORT/#INVITATION@FINGERPRINT
//
// What is behind '#' stays in the program that reads it: the invitation goes out in a header, once
// the server has shown the key of that fingerprint (certificate.h). Either may be missing: without
// a fingerprint a certificate of an authority is expected. Threads: any.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "proto/net/url.h"

namespace mh::net {

struct ServerLink {
  /// Its fragment is empty.
  Url server;
  std::string invitation;
  std::optional<Digest> fingerprint;
};

/// Errors: kInvalidArgument (no URL, no fingerprint behind '@', one for plain HTTP).
Result<ServerLink> parse_server_link(std::string_view text);

/// The text of a link; `url` has no slash at its end.
std::string server_link(const std::string& url, const std::string& invitation,
                        const std::optional<Digest>& fingerprint);

/// The PEM text of the authorities that a user wants to trust instead of the system's, at most
/// 32 KiB. Errors: kInvalidArgument, naming `flag`.
Result<std::string> read_authorities(const std::filesystem::path& file, std::string_view flag);

/// Plain HTTP is for this machine only, unless the user wants it otherwise: a secret would travel
/// readable. Errors: kInvalidArgument, naming `flag`.
Status check_plain_http(const Url& server, bool is_wanted, std::string_view flag);

}  // namespace mh::net
