#include "client/cli/login.h"

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proto/base/file.h"
#include "proto/net/certificate.h"
#include "proto/net/server_link.h"

namespace mh::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<Login> read_login(const std::filesystem::path& path) {
  MH_TRY(const std::string text, read_file(path, 65'536));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto text_of = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : std::string();
  };
  const bool is_insecure_http =
      json.is_object() && json.contains("insecure_http") && json["insecure_http"] == true;
  const Login login{text_of("server"), text_of("token"), text_of("fingerprint"),
                    text_of("authority"), is_insecure_http};
  if (login.server.empty())
    return fail(Errc::kInvalidArgument,
                path.string() + " holds no login: run 'manyhands login URL' again");
  return login;
}

}  // namespace

std::filesystem::path login_path() {
  std::string folder = environment("XDG_CONFIG_HOME");
  if (folder.empty()) folder = environment("HOME") + "/.config";
  return std::filesystem::path(folder) / "manyhands" / "login.json";
}

Result<Login> parse_server(const std::string& text, const LoginFlags& flags) {
  MH_TRY(const net::ServerLink link, net::parse_server_link(text));
  MH_TRY_VOID(net::check_plain_http(link.server, flags.is_insecure_http, "--insecure-http"));
  Login login;
  // In the form in which it is kept: without a slash at the end, with the port.
  login.server = link.server.text();
  login.is_insecure_http = flags.is_insecure_http;
  if (link.fingerprint) login.fingerprint = net::fingerprint_text(*link.fingerprint);
  if (flags.authority_file.empty()) return login;
  MH_TRY(login.authority_pem, net::read_authorities(flags.authority_file, "--ca-file"));
  return login;
}

Result<std::string> read_token(const std::string& path) {
  std::string token;
  if (path == "-") {
    std::getline(std::cin, token);
  } else {
    auto text = read_file(path, 4096);
    if (!text) return fail(Errc::kInvalidArgument, "token file: " + text.error().message);
    token = text->substr(0, text->find('\n'));
  }
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (token.empty() || token.size() > 512)
    return fail(Errc::kInvalidArgument, "token file " + path + ": its first line is no token");
  for (const char c : token)
    if (c <= ' ' || c > '~')
      return fail(Errc::kInvalidArgument, "token file " + path + ": a token is printable ASCII");
  return token;
}

Result<Login> find_login(const LoginFlags& flags) {
  Login login;
  auto kept = read_login(login_path());
  if (kept)
    login = *kept;
  else if (kept.error().code != Errc::kNotFound)
    return kept.error();
  std::string server = flags.server.empty() ? environment("MANYHANDS_SERVER") : flags.server;
  if (!server.empty()) {
    MH_TRY(Login wanted, parse_server(server, flags));
    const bool is_kept = wanted.server == login.server &&
                         (wanted.fingerprint.empty() || wanted.fingerprint == login.fingerprint);
    // A token is for its own server only.
    if (!is_kept) login = std::move(wanted);
  }
  if (!flags.token_file.empty()) {
    MH_TRY(login.token, read_token(flags.token_file));
  } else if (const std::string token = environment("MANYHANDS_TOKEN"); !token.empty()) {
    login.token = token;
  }
  if (login.server.empty())
    return fail(Errc::kUnauthenticated,
                "no server: run 'manyhands login URL', or give --server or MANYHANDS_SERVER");
  return login;
}

Status save_login(const Login& login) {
  const auto path = login_path();
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error)
    return fail(Errc::kInternal,
                "cannot make " + path.parent_path().string() + ": " + error.message());
  const nlohmann::ordered_json json = {{"server", login.server},
                                       {"token", login.token},
                                       {"fingerprint", login.fingerprint},
                                       {"authority", login.authority_pem},
                                       {"insecure_http", login.is_insecure_http}};
  // An authority's file may hold comments that are no UTF-8.
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return write_file_atomically(path, text + "\n", 0600);
}

Status forget_login() {
  std::error_code error;
  std::filesystem::remove(login_path(), error);
  if (error) return fail(Errc::kInternal, "cannot remove the login: " + error.message());
  return {};
}

}  // namespace mh::cli
