// See attach.h.
#include "client/daemon/attach.h"

#include <utility>

#include "client/daemon/host_description.h"
#include "client/daemon/server_connection.h"
#include "manyhands/v1/admin.pb.h"
#include "manyhands/v1/work.pb.h"
#include "proto/base/build_info.h"
#include "proto/base/options.h"
#include "proto/base/random.h"
#include "proto/base/utf8.h"
#include "proto/net/certificate.h"
#include "proto/net/server_link.h"

namespace mh::client {
namespace {

namespace v1 = manyhands::v1;

constexpr const char* kOtherServer =
    "This is not the server that the join line names. Was the line mistyped, or is it old? Ask the "
    "project's admin for a new one; if it is right, somebody is between this computer and the "
    "server";

Result<net::ServerLink> parse_join_link(const AttachOptions& options) {
  MH_TRY(net::ServerLink link, net::parse_server_link(options.url));
  if (link.invitation.empty())
    return fail(Errc::kInvalidArgument,
                "'" + options.url +
                    "' holds no invitation: it must end with /#INVITATION@FINGERPRINT (quote it: "
                    "the shell takes # for a comment). 'manyhands account invite' makes one");
  if (link.fingerprint && !options.authority_file.empty())
    return fail(Errc::kInvalidArgument,
                "the line has a fingerprint, which decides alone: leave --ca-file away");
  MH_TRY_VOID(net::check_plain_http(link.server, options.is_insecure_http, "--insecure-http"));
  return link;
}

// What the link and the options say of the server.
Result<ClientState> wanted_state(const AttachOptions& options, const net::ServerLink& link) {
  ClientState wanted;
  wanted.server = link.server.text();
  if (link.fingerprint) wanted.fingerprint = net::fingerprint_text(*link.fingerprint);
  if (!options.authority_file.empty()) {
    MH_TRY(wanted.authority_pem, net::read_authorities(options.authority_file, "--ca-file"));
  }
  return wanted;
}

// Is there a Manyhands server of our version?
Result<v1::GetStatusResponse> ask_status(const net::Url& server,
                                         const net::HttpClientOptions& connection) {
  net::BlockingClient client(server, connection);
  auto status = client.call<v1::GetStatusResponse>("/manyhands.v1.ServerService/GetStatus",
                                                   v1::GetStatusRequest());
  if (!status.has_value()) {
    const Error& error = status.error();
    if (error.message.starts_with("cannot connect to ") || error.code == Errc::kInvalidArgument)
      return error;
    if (error.code == Errc::kUnavailable || error.code == Errc::kDeadlineExceeded)
      return fail(Errc::kUnavailable, "cannot reach " + server.text() + ": " + error.message);
    return fail(Errc::kUnavailable,
                server.text() + " does not answer like a Manyhands server: " + error.message);
  }
  if (status->protocol_version() != kProtocolVersion)
    return fail(Errc::kPermissionDenied,
                "the server " + server.text() + " (version " + status->version() +
                    ") speaks protocol version " + std::to_string(status->protocol_version()) +
                    ", this client (" + std::string(kVersion) + ") speaks " +
                    std::to_string(kProtocolVersion) + ": install the version of the server");
  return status;
}

// How the server has proved who it is.
std::string identity_text(const ClientState& wanted, const net::Url& server) {
  if (!server.is_tls) return "none: plain HTTP, everything travels readable";
  if (!wanted.fingerprint.empty())
    return "TLS; it has the key that the join line names, " + wanted.fingerprint;
  return "TLS; " +
         std::string(wanted.authority_pem.empty() ? "an authority that this computer trusts"
                                                  : "the authority of --ca-file") +
         " vouches for it";
}

std::string plan_text(const net::Url& server, const ClientState& wanted,
                      const v1::GetStatusResponse& status, const AttachOptions& options,
                      const std::string& name) {
  std::error_code error;
  const auto space = std::filesystem::space(options.folder.root.parent_path(), error);
  const std::string free_bytes =
      error ? "" : "; " + format_byte_size(space.available) + " are free";
  return "This computer will join " + server.text() + " as '" + printable(name) + "'.\n" +
         "  run by     " +
         (status.run_by().empty() ? "it does not say" : printable(status.run_by())) + " (server " +
         printable(status.server_id()) + ", Manyhands " + printable(status.version()) + ")\n" +
         "  identity   " + identity_text(wanted, server) + "\n" +
         "  does       while 'manyhands-client run' is running: downloads training data and model\n"
         "             parameters from there, computes on them, sends the results back. It "
         "connects\n             to no other server and listens to nobody\n" +
         "  takes      up to " + std::to_string(cpu_count()) + " threads at niceness " +
         std::to_string(options.nice_increment) + " (anything else comes first), or the GPU\n" +
         "  disk       at most " + options.cache_bytes + " of downloads and " + options.keep_bytes +
         " of results, in\n             " + options.folder.root.string() + free_bytes + "\n" +
         "  tells      the name above, the operating system, the device and when it computes\n"
         "  options    'manyhands-client run --help' has all limits; 'manyhands-client detach'\n"
         "             leaves and removes everything\n";
}

// The server's answer to what is already in the folder.
Result<bool> is_attached_here(const ClientState& state, const ClientState& wanted,
                              const std::string& server_id) {
  if (!state.is_attached()) return false;
  if (state.server_id != server_id)
    return fail(Errc::kFailedPrecondition,
                "this folder is attached to another server (" + state.server + ", id " +
                    state.server_id + "), not to " + wanted.server + " (id " + server_id +
                    "): run 'manyhands-client detach' first, or use another folder with --dir");
  // An id is public: only a key proves anything. Without TLS there was none to lose.
  if (state.server.starts_with("https://") && state.fingerprint != wanted.fingerprint)
    return fail(
        Errc::kFailedPrecondition,
        "this folder is attached to a server of the same id that is known by " +
            (state.fingerprint.empty() ? "an authority" : "the key " + state.fingerprint) +
            ", not by " +
            (wanted.fingerprint.empty() ? "an authority" : "the key " + wanted.fingerprint) +
            ": if its admin says that this was changed, run 'manyhands-client detach "
            "--force' first");
  return true;
}

// Whether the server knows this folder's host no longer, or has taken it out. When in doubt, no.
bool is_host_refused(const net::Url& server, const net::HttpClientOptions& connection) {
  net::BlockingClient client(server, connection);
  const auto reply = client.call<v1::ExchangeResponse>("/manyhands.v1.WorkService/Exchange",
                                                       v1::ExchangeRequest());
  return !reply.has_value() && reply.error().code == Errc::kUnauthenticated;
}

// Exchanges the invitation for the host's own secret, which `state` has.
Result<v1::AttachResponse> join(const net::ServerLink& link, const ClientState& state,
                                net::HttpClientOptions connection) {
  v1::AttachRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_host_secret(state.host_secret);
  *request.mutable_description() = describe_host(state.name, {"cpu", cpu_model(), cpu_count(), ""});
  connection.bearer_token = link.invitation;
  net::BlockingClient client(link.server, std::move(connection));
  auto response = client.call<v1::AttachResponse>("/manyhands.v1.WorkService/Attach", request);
  if (response.has_value()) return response;
  const Error& error = response.error();
  if (error.code == Errc::kUnauthenticated)
    return fail(Errc::kUnauthenticated, "the server does not accept the invitation (" +
                                            error.message + "): ask its admin for a new one");
  if (error.code == Errc::kFailedPrecondition) return fail(Errc::kPermissionDenied, error.message);
  return error;
}

Result<ClientState> kept_state(const ClientFolder& folder) {
  auto kept = load_state(folder);
  if (!kept.has_value() && kept.error().code == Errc::kNotFound) return ClientState();
  return kept;
}

// A server that does not know this host any more need not be told.
Status tell_leaving(const ClientState& state) {
  MH_TRY(const net::Url server, net::parse_url(state.server));
  MH_TRY(const net::HttpClientOptions connection, connection_options(state));
  net::BlockingClient client(server, connection);
  const auto told =
      client.call<v1::DetachResponse>("/manyhands.v1.WorkService/Detach", v1::DetachRequest());
  if (!told.has_value() && told.error().code != Errc::kUnauthenticated) return told.error();
  return {};
}

}  // namespace

Result<AttachOutcome> attach(const AttachOptions& options) {
  MH_TRY(const net::ServerLink link, parse_join_link(options));
  MH_TRY(const ClientState wanted, wanted_state(options, link));
  MH_TRY(net::HttpClientOptions connection, connection_options(wanted));
  connection.tls_advice = kOtherServer;
  AttachOutcome outcome;
  ClientState& state = outcome.state;
  MH_TRY(state, kept_state(options.folder));
  MH_TRY(const v1::GetStatusResponse status, ask_status(link.server, connection));
  MH_TRY(outcome.was_attached, is_attached_here(state, wanted, status.server_id()));
  if (outcome.was_attached) {
    connection.bearer_token = state.host_secret;
    outcome.was_attached = !is_host_refused(link.server, connection);
  }
  // A secret that one server has heard is not for another one.
  if (!state.is_attached() &&
      (state.server != wanted.server || state.fingerprint != wanted.fingerprint))
    state.host_secret.clear();
  state.fingerprint = wanted.fingerprint;
  state.authority_pem = wanted.authority_pem;
  if (outcome.was_attached) {
    if (std::exchange(state.server, wanted.server) != wanted.server)
      MH_TRY_VOID(save_state(options.folder, state));
    return outcome;
  }
  if (state.is_attached()) {
    // It joins anew, as another host: what the server took out does not come back.
    state.host_secret.clear();
    state.host = HostId();
  }
  if (!options.name.empty()) state.name = options.name;
  if (state.name.empty()) state.name = machine_name();
  if (!options.confirm(plan_text(link.server, wanted, status, options, state.name)))
    return fail(Errc::kCanceled, "not attached: you did not agree");
  MH_TRY_VOID(make_client_folders(options.folder));
  // The secret is kept before the server hears it: if its answer is lost, the next try is the same
  // host.
  state.server = wanted.server;
  if (state.host_secret.empty()) state.host_secret = random_token();
  MH_TRY_VOID(save_state(options.folder, state));
  MH_TRY(const v1::AttachResponse response, join(link, state, connection));
  state.host = HostId(response.host_id());
  state.server_id = response.server_id();
  MH_TRY_VOID(save_state(options.folder, state));
  return outcome;
}

Status detach(const ClientFolder& folder, bool is_forced) {
  auto state = load_state(folder);
  if (!state.has_value() && !(is_forced && state.error().code == Errc::kDataLoss))
    return state.error();
  if (state.has_value() && state->is_attached()) {
    const Status told = tell_leaving(*state);
    if (!told.has_value() && !is_forced)
      return fail(told.error().code, "cannot tell " + state->server + ": " + told.error().message +
                                         "; 'manyhands-client detach --force' forgets it anyway");
  }
  std::error_code error;
  std::filesystem::remove_all(folder.cache(), error);
  std::filesystem::remove_all(folder.work(), error);
  std::filesystem::remove_all(folder.out(), error);
  std::filesystem::remove(folder.state(), error);
  if (error)
    return fail(Errc::kInternal,
                "cannot remove " + folder.state().string() + ": " + error.message());
  // No trace; what somebody else has put there stays, and the folder with it.
  std::filesystem::remove(folder.socket(), error);
  std::filesystem::remove(folder.lock(), error);
  std::filesystem::remove(folder.root, error);
  return {};
}

}  // namespace mh::client
