// `manyhands login`, `logout`, `version`.
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/admin.pb.h"
#include "proto/base/build_info.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

// From the flag, the environment, or the first line of standard input.
Result<std::string> find_token(Context& context) {
  if (!context.flags().login.token_file.empty())
    return read_token(context.flags().login.token_file);
  if (const auto token = environment_value("MANYHANDS_TOKEN")) return *token;
  if (Context::is_terminal(0)) context.err() << "Token: " << std::flush;
  return read_token("-");
}

Result<int> run_login(Context& context, const std::string& url_text) {
  MH_TRY(Login login, parse_server(url_text, context.flags().login));
  MH_TRY(login.token, find_token(context));
  context.use(login);
  MH_TRY(const auto self,
         context.call<v1::GetSelfResponse>("AccountService/GetSelf", v1::GetSelfRequest()));
  MH_TRY_VOID(save_login(login));
  if (context.wants_json()) {
    context.print_json(self);
    return kExitDone;
  }
  context.out() << "Logged in to " << login.server << " as " << printable(self.account().name())
                << "; the token is valid until " << time_text(self.token_expires_ms())
                << " UTC and kept in " << login_path().string() << ".\n";
  return kExitDone;
}

Result<int> run_logout(Context& context) {
  MH_TRY_VOID(forget_login());
  context.out() << "The login is forgotten.\n";
  return kExitDone;
}

Result<int> run_version(Context& context) {
  if (context.wants_json()) {
    const nlohmann::ordered_json json = {{"version", kVersion},
                                         {"protocolVersion", kProtocolVersion}};
    context.out() << json.dump(2) << "\n";
  } else {
    context.out() << "manyhands " << kVersion << " (protocol version " << kProtocolVersion << ")\n";
  }
  return kExitDone;
}

}  // namespace

std::vector<Verb> login_verbs() {
  return {{"", "login", "Check a token and keep it for later calls",
           "manyhands login 'https://127.0.0.1:8470/#@FINGERPRINT' --token-file srv/admin.token",
           [](OptionSink& options) -> VerbRun {
             const auto url = std::make_shared<std::string>();
             options.positional("url", *url,
                                "The server, as it printed it: https://HOST:PORT/#@FINGERPRINT");
             return [url](Context& context) { return run_login(context, *url); };
           }},
          {"", "logout", "Forget the login", "manyhands logout",
           [](OptionSink&) -> VerbRun { return run_logout; }},
          {"", "version", "Say which version this is", "manyhands version --json",
           [](OptionSink&) -> VerbRun { return run_version; }}};
}

}  // namespace mh::cli
