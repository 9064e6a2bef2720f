// WorkService: hosts attach, report, renew, ask and leave.
#include <algorithm>
#include <utility>

#include "manyhands/v1/work.pb.h"
#include "proto/base/build_info.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "server/address_block.h"
#include "server/handler.h"
#include "server/handlers.h"
#include "server/screening.h"
#include "server/secrets.h"
#include "server/work_messages.h"

namespace mh::server {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kHostSecretBytes = 43;
// Longer than a turn takes to come (rule 18 of scheduler/coordinator.h).
constexpr std::uint32_t kSlowedHoldMs = 1'000;
// When a call could not be held because too many are.
constexpr std::chrono::milliseconds kBackoffFull{10'000};

Status check_secret(const std::string& secret) {
  const bool is_base64url = std::all_of(secret.begin(), secret.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
  if (secret.size() == kHostSecretBytes && is_base64url) return {};
  return fail(Errc::kInvalidArgument,
              "host_secret: must be 43 characters of base64url (32 random bytes)");
}

asio::awaitable<Result<v1::AttachResponse>> attach(Core& core, net::CallContext context,
                                                   v1::AttachRequest request) {
  if (request.protocol_version() != kProtocolVersion) {
    co_return fail(Errc::kFailedPrecondition,
                   "this server (version " + std::string(kVersion) + ") speaks protocol version " +
                       std::to_string(kProtocolVersion) + ", the client speaks " +
                       std::to_string(request.protocol_version()) +
                       ": install the client of the server's version");
  }
  MH_CO_TRY_VOID(check_secret(request.host_secret()));
  MH_CO_TRY(const scheduler::HostDescription description, to_description(request.description()));
  const Digest hash = secret_hash(request.host_secret());
  const auto known = core.accounts().find_host(hash);
  Transaction extra;
  std::optional<HostId> host;
  std::uint64_t account_id = 0;
  std::uint64_t invitation_id = 0;
  scheduler::HostOrigin origin;
  origin.address_block = address_block(context.peer_address);
  if (known) {
    // The secret proves who it is; the invitation was used the first time.
    MH_CO_TRY_VOID(core.accounts().authenticate_host(request.host_secret()));
    host = HostId(known->host_id);
  } else {
    MH_CO_TRY(const InvitationRow invitation,
              core.accounts().check_invitation(context.bearer_token, core.now()));
    account_id = invitation.account_id;
    if (!core.accounts().is_shared(account_id)) origin.account = account_id;
    invitation_id = invitation.id;
  }
  auto decision = core.coordinator().attach(host, description, origin, core.now());
  if (decision.reply && !host) {
    const HostSecretRow row{decision.reply->value(), account_id, hash, false};
    core.accounts().add_host(row);
    extra.host_secrets.push_back(row);
    extra.invitations.push_back(core.accounts().use_invitation(invitation_id));
  }
  const Result<HostId> attached = co_await core.settle(std::move(decision), std::move(extra));
  if (!attached) co_return attached.error();
  log_info(host ? "host is back" : "host attached",
           {{"host", *attached}, {"name", description.name}, {"from", context.peer_address}});
  v1::AttachResponse response;
  response.set_host_id(attached->value());
  response.set_server_id(core.server_id());
  response.set_server_version(std::string(kVersion));
  co_return response;
}

// Takes a call's turn: decides, lets the next held call have its turn, commits. `event` loses what
// must not be said twice; `place` may be null. A degraded server takes reports and gives no work.
asio::awaitable<Result<scheduler::ExchangeReply>> ask(Core& core, scheduler::ExchangeEvent& event,
                                                      ParkedCalls::Place* place) {
  const Status has_room = core.disk().check_room();
  const std::uint32_t wanted = std::exchange(event.wanted, has_room ? event.wanted : 0);
  auto decision = core.coordinator().exchange(event, core.now());
  if (place != nullptr && decision.reply && !decision.reply->is_drained) {
    place->pass_on(!decision.reply->assignments.empty());
  }
  Result<scheduler::ExchangeReply> reply = co_await core.settle(std::move(decision));
  event.reports.clear();
  event.description.reset();
  event.wanted = wanted;
  if (!has_room && wanted > 0 && reply) {
    reply->no_work_reason = has_room.error().message;
    reply->backoff = DiskWatch::kRetryAfter;
  }
  co_return reply;
}

// A call and what it would be answered now.
struct OpenExchange {
  scheduler::ExchangeEvent event;
  scheduler::ExchangeReply reply;
};

// The first turn: with the reports, which are screened before.
asio::awaitable<Status> take_first_turn(Core& core, OpenExchange& open) {
  if (!open.event.reports.empty()) {
    open.event = co_await screen_reports(core, std::move(open.event));
  }
  MH_CO_TRY(open.reply, co_await ask(core, open.event, nullptr));
  co_return Status();
}

// Holds the call until there is something to say. `ended` belongs to the caller's frame.
asio::awaitable<Status> hold(Core& core, OpenExchange& open,
                             const std::shared_ptr<net::CallSignal>& ended,
                             std::chrono::milliseconds most) {
  ParkedCalls::Place place(core.parked(), kWorkKey, open.event.host.value(), ended, most);
  if (place.is_refused()) open.reply.backoff = kBackoffFull;
  while (open.reply.is_parkable() && !place.is_over()) {
    auto wait = most;
    if (open.reply.retry_at) wait = std::clamp(*open.reply.retry_at - core.now(), {}, most);
    co_await place.wait(wait);
    // Nobody would hear the answer: a lease now would only be lost.
    if (ended->is_set()) break;
    MH_CO_TRY(open.reply, co_await ask(core, open.event, &place));
    if (!core.disk().check_room()) break;
  }
  co_return Status();
}

asio::awaitable<Result<v1::ExchangeResponse>> exchange(Core& core, net::CallContext context,
                                                       v1::ExchangeRequest request) {
  MH_CO_TRY(const HostSecretRow host, core.accounts().authenticate_host(context.bearer_token));
  OpenExchange open;
  MH_CO_TRY(open.event, to_event(request));
  open.event.host = HostId(host.host_id);
  open.event.received = core.now();
  auto most = hold_time(context, request.max_wait_ms());
  // Who asks too often waits here for its turn, whatever it asked for.
  const auto slowed = std::max(most, hold_time(context, kSlowedHoldMs));
  // Thousands of held calls keep this frame: what is not needed any more goes.
  context.headers = net::Headers();
  request = v1::ExchangeRequest();
  MH_CO_TRY_VOID(co_await take_first_turn(core, open));
  if (open.reply.is_slowed) most = slowed;
  // Without room nothing is worth waiting for here.
  if (open.reply.is_parkable() && most.count() > 0 && core.disk().check_room())
    MH_CO_TRY_VOID(co_await hold(core, open, context.ended, most));
  co_return to_message(open.reply);
}

asio::awaitable<Result<v1::DetachResponse>> detach(Core& core, net::CallContext context,
                                                   v1::DetachRequest) {
  const auto known = core.accounts().find_host(secret_hash(context.bearer_token));
  // Repeated: its secret has stopped working, which is what was asked for.
  if (known && known->is_revoked) co_return v1::DetachResponse();
  MH_CO_TRY(const HostSecretRow host, core.accounts().authenticate_host(context.bearer_token));
  Transaction extra;
  if (const auto row = core.accounts().revoke_host(host.host_id)) extra.host_secrets = {*row};
  auto decision = core.coordinator().detach(HostId(host.host_id), core.now());
  MH_CO_TRY_VOID(co_await core.settle(std::move(decision), std::move(extra)));
  log_info("host detached", {{"host", host.host_id}});
  co_return v1::DetachResponse();
}

}  // namespace

void add_work_service(net::ServiceTable& table, Core& core) {
  add_call(table, core, "WorkService/Attach", &attach, Needs::kStore);
  add_call(table, core, "WorkService/Exchange", &exchange, Needs::kStore);
  add_call(table, core, "WorkService/Detach", &detach, Needs::kStore);
}

}  // namespace mh::server
