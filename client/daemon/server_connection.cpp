// See server_connection.h.
#include "client/daemon/server_connection.h"

#include "proto/base/build_info.h"
#include "proto/net/certificate.h"

namespace mh::client {
namespace {

constexpr const char* kIdentityChanged =
    "This is not the server that this computer joined, or it has a new key. Ask the project's "
    "admin. If the key was replaced: 'manyhands-client detach --force', then attach with a new "
    "join line. If not, somebody is between this computer and the server";

}  // namespace

Result<net::HttpClientOptions> connection_options(const ClientState& state) {
  net::HttpClientOptions options;
  options.bearer_token = state.host_secret;
  options.user_agent = "manyhands-client/" + std::string(kVersion);
  options.tls_trusted_pem = state.authority_pem;
  options.tls_advice = kIdentityChanged;
  if (state.fingerprint.empty()) return options;
  const auto fingerprint = net::parse_fingerprint(state.fingerprint);
  if (!fingerprint)
    return fail(Errc::kDataLoss, "the state of this client is damaged (" +
                                     fingerprint.error().message +
                                     "): run 'manyhands-client detach --force', then attach");
  options.tls_fingerprint = *fingerprint;
  return options;
}

}  // namespace mh::client
