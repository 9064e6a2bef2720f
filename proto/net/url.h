// URLs of servers: http(s)://host:port/base. Errors name what is wrong and show what is right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace mh::net {

struct Url {
  std::string host;         // without brackets
  std::uint16_t port = 80;  // 443 for https, if the text names none
  bool is_tls = false;
  /// What stands before every path, without a slash at the end; usually empty.
  std::string base_path;
  /// What follows '#', for example the invitation of a join line.
  std::string fragment;

  /// "host:port", with brackets around IPv6: for the Host header.
  std::string authority() const;
  /// "http://host:port/base", or https.
  std::string text() const;
};

/// Errors: kInvalidArgument (no scheme, another scheme than http and https, no host, bad port, user
/// name, query, blanks, control characters, letters beyond ASCII).
Result<Url> parse_url(std::string_view text);

/// True for names of this machine itself: localhost, 127.x.x.x, ::1. What goes there stays here.
bool is_loopback(std::string_view host);

}  // namespace mh::net
