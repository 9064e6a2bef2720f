// See attach.h.
#include "client/daemon/attach.h"

#include "client/daemon/host_description.h"
#include "manyhands/v1/admin.pb.h"
#include "manyhands/v1/work.pb.h"
#include "proto/base/build_info.h"
#include "proto/base/random.h"
#include "proto/net/http_client.h"

namespace mh::client {
namespace {

namespace v1 = manyhands::v1;

net::HttpClientOptions client_options(const std::string& token) {
  net::HttpClientOptions options;
  options.bearer_token = token;
  options.user_agent = "manyhands-client/" + std::string(kVersion);
  return options;
}

Result<net::Url> parse_join_url(const std::string& text) {
  auto url = net::parse_url(text);
  if (!url.has_value()) return fail(Errc::kInvalidArgument, url.error().message);
  if (url->fragment.empty())
    return fail(Errc::kInvalidArgument,
                "'" + text +
                    "' holds no invitation: it must end with /#INVITATION (quote it: the "
                    "shell takes # for a comment). 'manyhands account invite' makes one");
  return url;
}

// Is there a Manyhands server of our version?
Result<v1::GetStatusResponse> ask_status(const net::Url& server) {
  net::BlockingClient client(server, client_options(""));
  auto status = client.call<v1::GetStatusResponse>("/manyhands.v1.ServerService/GetStatus",
                                                   v1::GetStatusRequest());
  if (!status.has_value()) {
    const Error& error = status.error();
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

std::string plan_text(const net::Url& server, const v1::GetStatusResponse& status,
                      const AttachOptions& options, const std::string& name) {
  return "This computer will join " + server.text() + " (Manyhands " + status.version() +
         ", server " + status.server_id() + ") as '" + name +
         "'.\nWhile 'manyhands-client run' is running, it downloads training data and model "
         "parameters from there,\ncomputes on them at the lowest priority and sends the results "
         "back. The server learns the name above,\nthe operating system and the device used. "
         "Everything is kept in " +
         options.folder.root.string() + ".\n";
}

// The server's answer to what is already in the folder.
Result<bool> is_attached_here(const ClientState& state, const net::Url& server,
                              const std::string& server_id) {
  if (!state.is_attached()) return false;
  if (state.server_id == server_id) return true;
  return fail(Errc::kFailedPrecondition,
              "this folder is attached to another server (" + state.server + ", id " +
                  state.server_id + "), not to " + server.text() + " (id " + server_id +
                  "): run 'manyhands-client detach' first, or use another folder with --dir");
}

// Whether the server knows this folder's host no longer, or has taken it out. When in doubt, no.
bool is_host_refused(const net::Url& server, const ClientState& state) {
  net::BlockingClient client(server, client_options(state.host_secret));
  const auto reply = client.call<v1::ExchangeResponse>("/manyhands.v1.WorkService/Exchange",
                                                       v1::ExchangeRequest());
  return !reply.has_value() && reply.error().code == Errc::kUnauthenticated;
}

}  // namespace

Result<AttachOutcome> attach(const AttachOptions& options) {
  MH_TRY(const net::Url url, parse_join_url(options.url));
  AttachOutcome outcome;
  ClientState& state = outcome.state;
  if (auto kept = load_state(options.folder); kept.has_value()) {
    state = *std::move(kept);
  } else if (kept.error().code != Errc::kNotFound) {
    return kept.error();
  }
  MH_TRY(const v1::GetStatusResponse status, ask_status(url));
  MH_TRY(outcome.was_attached, is_attached_here(state, url, status.server_id()));
  if (outcome.was_attached) {
    if (!is_host_refused(url, state)) return outcome;
    // It joins anew, as another host: what the server took out does not come back.
    outcome.was_attached = false;
    state.host_secret.clear();
    state.host = HostId();
  }
  if (!options.name.empty()) state.name = options.name;
  if (state.name.empty()) state.name = machine_name();
  if (!options.confirm(plan_text(url, status, options, state.name)))
    return fail(Errc::kCanceled, "not attached: you did not agree");
  MH_TRY_VOID(make_client_folders(options.folder));
  // The secret is kept before the server hears it: if its answer is lost, the next try is the same
  // host.
  state.server = url.text();
  if (state.host_secret.empty()) state.host_secret = random_token();
  MH_TRY_VOID(save_state(options.folder, state));
  v1::AttachRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_host_secret(state.host_secret);
  *request.mutable_description() = describe_host(state.name, {"cpu", cpu_model(), cpu_count(), ""});
  net::BlockingClient client(url, client_options(url.fragment));
  auto response = client.call<v1::AttachResponse>("/manyhands.v1.WorkService/Attach", request);
  if (!response.has_value()) {
    const Error& error = response.error();
    if (error.code == Errc::kUnauthenticated)
      return fail(Errc::kUnauthenticated, "the server does not accept the invitation (" +
                                              error.message + "): ask its admin for a new one");
    if (error.code == Errc::kFailedPrecondition)
      return fail(Errc::kPermissionDenied, error.message);
    return error;
  }
  state.host = HostId(response->host_id());
  state.server_id = response->server_id();
  MH_TRY_VOID(save_state(options.folder, state));
  return outcome;
}

Status detach(const ClientFolder& folder, bool is_forced) {
  auto state = load_state(folder);
  if (!state.has_value() && !(is_forced && state.error().code == Errc::kDataLoss))
    return state.error();
  if (state.has_value() && state->is_attached()) {
    MH_TRY(const net::Url server, net::parse_url(state->server));
    net::BlockingClient client(server, client_options(state->host_secret));
    const auto told =
        client.call<v1::DetachResponse>("/manyhands.v1.WorkService/Detach", v1::DetachRequest());
    // A server that does not know this host any more need not be told.
    const bool is_told = told.has_value() || told.error().code == Errc::kUnauthenticated;
    if (!is_told && !is_forced)
      return fail(told.error().code, "cannot tell " + server.text() + ": " + told.error().message +
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
  return {};
}

}  // namespace mh::client
