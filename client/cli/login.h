// Which server, with which token? Flags win over the environment, the environment over the login
// that `manyhands login` kept in ${XDG_CONFIG_HOME:-~/.config}/manyhands/login.json (mode 0600).
#pragma once

#include <filesystem>
#include <string>

#include "proto/base/result.h"

namespace mh::cli {

struct Login {
  // "http://host:port".
  std::string server;
  // Empty: none. Never printed.
  std::string token;
};

// What the command line said; empty: nothing.
struct LoginFlags {
  std::string server;
  std::string token_file;
};

std::filesystem::path login_path();

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
