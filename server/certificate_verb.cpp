// See certificate_verb.h.
#include "server/certificate_verb.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proto/base/options.h"
#include "server/server_folder.h"
#include "server/tls_identity.h"

namespace mh::server {
namespace {

using Json = nlohmann::ordered_json;

int tell(const Error& error) {
  std::cerr << "manyhands-server: " << error.message << "\n";
  return exit_code_of(error);
}

void print(const TlsIdentity& identity, bool is_json) {
  const net::CertificateFacts& facts = identity.facts;
  if (is_json) {
    const Json json = {{"fingerprint", net::fingerprint_text(facts.fingerprint)},
                       {"names", facts.names},
                       {"beginMs", to_unix_ms(facts.begin)},
                       {"endMs", to_unix_ms(facts.end)}};
    std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  std::cout << "fingerprint of the key  " << net::fingerprint_text(facts.fingerprint) << "\n"
            << "names                  ";
  for (const std::string& name : facts.names) std::cout << " " << name;
  std::cout << "\nvalid                   " << utc_text(facts.begin) << " to "
            << utc_text(facts.end) << "\n";
}

}  // namespace

CertificateVerb::CertificateVerb(CLI::App& app) {
  verb_ = app.add_subcommand(
      "certificate", "Shows the server's own TLS certificate, or makes a new one (when stopped).");
  verb_->add_option("DIR", folder_, "the server's folder")->required();
  verb_->add_flag("--renew", is_renewing_,
                  "make a new certificate for the same key: clients notice nothing");
  verb_
      ->add_option("--name", names_,
                   "... for this host name or address and this machine; may be repeated (default: "
                   "as before)")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb_->add_flag("--new-key", is_new_key_,
                  "make a new key, too, because somebody else may have the old one: every client "
                  "then refuses the server until it joins anew");
  verb_->add_flag("--json", is_json_, "print JSON");
  verb_->footer("Example: manyhands-server certificate my-server --renew --name train.example.org");
}

std::optional<int> CertificateVerb::run() {
  if (!verb_->parsed()) return std::nullopt;
  const ServerFolder folder{folder_};
  const TimePoint now = SystemClock().now();
  if (!is_renewing_ && !is_new_key_ && names_.empty()) {
    const auto identity = read_tls_identity(folder.tls_certificate(), folder.tls_key());
    if (!identity)
      return tell(fail(Errc::kNotFound, folder_.string() +
                                            " has no TLS certificate yet (run or --renew make "
                                            "one): " +
                                            identity.error().message));
    print(*identity, is_json_);
    return kExitDone;
  }
  const auto lock = lock_server_folder(folder);
  if (!lock) return tell(lock.error());
  const auto identity = renew_tls_identity(folder, names_, is_new_key_, now);
  if (!identity) return tell(identity.error());
  print(*identity, is_json_);
  return kExitDone;
}

}  // namespace mh::server
