// See url.h.
#include "proto/net/url.h"

#include <algorithm>

#include "proto/base/utf8.h"
#include "proto/net/message.h"

namespace mh::net {
namespace {

constexpr std::size_t kUrlBytesMax = 2048;
constexpr std::uint16_t kHttpsPort = 443;

Error bad_url(std::string_view text, const std::string& why) {
  return fail(Errc::kInvalidArgument, "'" + plain_text(text, 200) + "' is no server URL: " + why +
                                          "; it looks like https://example.org:8470");
}

bool is_host_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
         c == '-' || c == '_' || c == ':';
}

}  // namespace

std::string Url::authority() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string Url::text() const {
  return (is_tls ? "https://" : "http://") + authority() + base_path;
}

Result<Url> parse_url(std::string_view text) {
  if (text.size() > kUrlBytesMax) return bad_url(text, "it is too long");
  for (const char c : text) {
    if (c <= ' ' || c > '~')
      return bad_url(text, "it holds blanks, control characters or letters beyond ASCII");
  }
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return bad_url(text, "it has no scheme");
  Url url;
  url.is_tls = iequals(text.substr(0, scheme_end), "https");
  if (url.is_tls) url.port = kHttpsPort;
  if (!url.is_tls && !iequals(text.substr(0, scheme_end), "http"))
    return bad_url(text, "the scheme must be http or https");
  std::string_view rest = text.substr(scheme_end + 3);
  if (const std::size_t mark = rest.find('#'); mark != std::string_view::npos) {
    url.fragment = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (rest.find('?') != std::string_view::npos) return bad_url(text, "it has a query");
  std::string_view authority = rest.substr(0, rest.find('/'));
  std::string_view path = rest.substr(authority.size());
  while (path.ends_with('/')) path.remove_suffix(1);
  url.base_path = path;
  if (authority.find('@') != std::string_view::npos) return bad_url(text, "it has a user name");
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad_url(text, "the bracket is not closed");
    url.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
  } else {
    const std::size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    port = colon == std::string_view::npos ? std::string_view() : authority.substr(colon);
    if (url.host.find(':') != std::string::npos) return bad_url(text, "the host holds a colon");
  }
  if (url.host.empty()) return bad_url(text, "it has no host");
  if (!std::all_of(url.host.begin(), url.host.end(), is_host_character))
    return bad_url(text, "the host has characters that hosts do not have");
  if (!port.empty()) {
    const auto number = port.starts_with(':') ? parse_decimal(port.substr(1)) : std::nullopt;
    if (!number || *number == 0 || *number > 65535)
      return bad_url(text, "the port must be a number from 1 to 65535");
    url.port = static_cast<std::uint16_t>(*number);
  }
  return url;
}

bool is_loopback(std::string_view host) {
  if (iequals(host, "localhost") || host == "::1") return true;
  const bool is_number = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return is_number && host.starts_with("127.");
}

}  // namespace mh::net
