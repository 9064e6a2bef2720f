// HostService: who computes, and who is trusted with evaluations.
#include "manyhands/v1/admin.pb.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "scheduler/standing.h"
#include "server/handler.h"
#include "server/handlers.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint64_t kLogEntriesMax = 100;

Error no_such_host(std::uint64_t id) {
  return fail(Errc::kNotFound,
              "there is no host " + std::to_string(id) + " ('manyhands host list' shows all)");
}

v1::Host to_message(const scheduler::HostView& view) {
  const scheduler::HostRow& row = view.row;
  v1::Host message;
  message.set_id(view.id.value());
  message.set_name(row.description.name);
  message.set_platform(row.description.platform);
  message.set_client_version(row.description.client_version);
  message.set_device(row.description.device);
  message.set_device_model(row.description.device_model);
  message.set_threads(row.description.threads);
  message.set_trusted(row.is_trusted);
  message.set_detached(row.is_detached);
  message.set_attached_ms(to_unix_ms(row.attached));
  message.set_last_seen_ms(to_unix_ms(view.last_seen));
  message.set_lease_count(view.lease_count);
  message.set_valid_count(row.valid_count);
  message.set_rejected_count(row.rejected_count);
  message.set_failed_count(row.failed_count);
  message.set_lost_count(row.lost_count);
  message.set_credit(row.credit);
  message.set_gflops(view.gflops);
  message.set_credit_held(row.credit_held);
  message.set_standing(std::string(scheduler::standing_word(row.standing)));
  message.set_standing_reason(row.standing_reason);
  message.set_valid_in_row(row.valid_in_row);
  message.set_checked_count(row.checked_count);
  message.set_differed_count(row.differed_count);
  return message;
}

v1::HostLogEntry to_message(const scheduler::HostLogRow& row) {
  v1::HostLogEntry message;
  message.set_time_ms(to_unix_ms(row.time));
  message.set_standing(std::string(scheduler::standing_word(row.standing)));
  message.set_job_id(row.job.value());
  message.set_result_id(row.result.value());
  message.set_text(row.text);
  return message;
}

asio::awaitable<Result<v1::ListHostsResponse>> list_hosts(Core& core, net::CallContext context,
                                                          v1::ListHostsRequest) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  v1::ListHostsResponse response;
  for (const scheduler::HostView& view : core.coordinator().hosts())
    *response.add_hosts() = to_message(view);
  co_return response;
}

asio::awaitable<Result<v1::GetHostResponse>> get_host(Core& core, net::CallContext context,
                                                      v1::GetHostRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const auto view = core.coordinator().host(HostId(request.id()));
  if (!view) co_return no_such_host(request.id());
  auto read = [&store = core.store(), id = HostId(request.id())] {
    return store.host_log(id, kLogEntriesMax);
  };
  const Result<std::vector<scheduler::HostLogRow>> log =
      co_await net::run_on(core.pool(), std::move(read));
  if (!log) co_return log.error();
  v1::GetHostResponse response;
  *response.mutable_host() = to_message(*view);
  for (const scheduler::HostLogRow& row : *log) *response.add_log() = to_message(row);
  co_return response;
}

asio::awaitable<Result<v1::SetHostTrustResponse>> set_host_trust(Core& core,
                                                                 net::CallContext context,
                                                                 v1::SetHostTrustRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  const HostId id(request.id());
  if (!core.coordinator().host(id)) co_return no_such_host(request.id());
  auto decision = core.coordinator().set_trust(id, request.trusted(), core.now());
  Transaction extra = audited(
      core, caller,
      "host " + to_string(id) + (request.trusted() ? " is trusted" : " is no longer trusted"));
  MH_CO_TRY_VOID(co_await core.settle(std::move(decision), std::move(extra)));
  log_info(request.trusted() ? "host trusted" : "host no longer trusted",
           {{"host", id}, {"by", caller.account.name}});
  v1::SetHostTrustResponse response;
  *response.mutable_host() = to_message(*core.coordinator().host(id));
  co_return response;
}

asio::awaitable<Result<v1::ForgiveHostResponse>> forgive_host(Core& core, net::CallContext context,
                                                              v1::ForgiveHostRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  const HostId id(request.id());
  if (!core.coordinator().host(id)) co_return no_such_host(request.id());
  auto decision = core.coordinator().forgive(id, core.now());
  Transaction extra = audited(core, caller, "host " + to_string(id) + " was forgiven");
  MH_CO_TRY_VOID(co_await core.settle(std::move(decision), std::move(extra)));
  log_info("host forgiven", {{"host", id}, {"by", caller.account.name}});
  v1::ForgiveHostResponse response;
  *response.mutable_host() = to_message(*core.coordinator().host(id));
  co_return response;
}

}  // namespace

void add_host_service(net::ServiceTable& table, Core& core) {
  add_call(table, core, "HostService/ListHosts", &list_hosts);
  add_call(table, core, "HostService/GetHost", &get_host);
  add_call(table, core, "HostService/SetHostTrust", &set_host_trust, Needs::kStore);
  add_call(table, core, "HostService/ForgiveHost", &forgive_host, Needs::kStore);
}

}  // namespace mh::server
