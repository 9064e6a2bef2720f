// Which server, with which token? Flags win over the environment, the environment over the login
// that `manyhands login` kept in ${XDG_CONFIG_HOME:-~/.config}/manyhands/login.json (mode 0600).
#pragma once

#include <filesystem>
#include <string>

#include "proto/base/result.h"

namespace mh::cli {

struct Login {
  // "https://host:port".
  std::string server;
  // Empty: none. Never printed.
  std::string token;
  // Of the server's key (proto/net/certificate.h); empty: it is known by an authority.
  std::string fingerprint;
  // PEM text of the authorities to trust instead of the system's; empty: the system's.
  std::string authority_pem;
  // Plain HTTP beyond this machine is wanted.
  bool is_insecure_http = false;
};

// What the command line said; empty: nothing.
struct LoginFlags {
  std::string server;
  std::string token_file;
  std::string authority_file;
  bool is_insecure_http = false;
};

std::filesystem::path login_path();

// The server of a text like "https://host:port/#@FINGERPRINT", with what the flags say of it; no
// token. Errors: kInvalidArgument (no URL; plain HTTP beyond this machine without the flag; a file
// that cannot be read).
Result<Login> parse_server(const std::string& text, const LoginFlags& flags);

// Errors: kUnauthenticated (no login, and how to get one), kInvalidArgument (a file that cannot
// be read or is no login).
Result<Login> find_login(const LoginFlags& flags);

// Keeps a login for later calls, readable by this user only.
Status save_login(const Login& login);
// Forgets it; none kept is no error.
Status forget_login();

// First line of a file, at most 4 KiB; "-" is standard input. Errors: kInvalidArgument.
Result<std::string> read_token(const std::string& path);

}  // namespace mh::cli
