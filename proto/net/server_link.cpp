// See server_link.h.
#include "proto/net/server_link.h"

#include "proto/base/file.h"
#include "proto/net/certificate.h"

namespace mh::net {
namespace {

constexpr std::uint64_t kAuthorityBytesMax = 32 * 1024;

}  // namespace

Result<ServerLink> parse_server_link(std::string_view text) {
  ServerLink link;
  MH_TRY(link.server, parse_url(text));
  const std::string fragment = std::move(link.server.fragment);
  link.server.fragment.clear();
  const std::size_t mark = fragment.find('@');
  link.invitation = fragment.substr(0, mark);
  if (mark == std::string::npos) return link;
  MH_TRY(link.fingerprint, parse_fingerprint(std::string_view(fragment).substr(mark + 1)));
  if (!link.server.is_tls)
    return fail(Errc::kInvalidArgument,
                "'" + link.server.text() +
                    "' is plain HTTP, but a fingerprint follows: only TLS has one, so it must "
                    "begin with https://");
  return link;
}

std::string server_link(const std::string& url, const std::string& invitation,
                        const std::optional<Digest>& fingerprint) {
  std::string text = url;
  if (!invitation.empty() || fingerprint) text += "/#" + invitation;
  if (fingerprint) text += "@" + fingerprint_text(*fingerprint);
  return text;
}

Result<std::string> read_authorities(const std::filesystem::path& file, std::string_view flag) {
  auto pem = read_file(file, kAuthorityBytesMax);
  if (!pem) return fail(Errc::kInvalidArgument, std::string(flag) + " " + pem.error().message);
  return pem;
}

Status check_plain_http(const Url& server, bool is_wanted, std::string_view flag) {
  if (server.is_tls || is_wanted || is_loopback(server.host)) return {};
  return fail(Errc::kInvalidArgument,
              server.text() +
                  " is plain HTTP beyond this machine: secrets would travel readable. Use its "
                  "https:// address, or say " +
                  std::string(flag) + " on a network that you trust");
}

}  // namespace mh::net
