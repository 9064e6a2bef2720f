// ServerService: what is this, how does it do? Needs no token.
#include "manyhands/v1/admin.pb.h"
#include "proto/base/build_info.h"
#include "proto/base/signature.h"
#include "server/handler.h"
#include "server/handlers.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

asio::awaitable<Result<v1::GetStatusResponse>> get_status(Core& core, net::CallContext context,
                                                          v1::GetStatusRequest) {
  v1::GetStatusResponse response;
  response.set_server_id(core.server_id());
  response.set_version(std::string(kVersion));
  response.set_protocol_version(kProtocolVersion);
  response.set_started_ms(to_unix_ms(core.started()));
  response.set_now_ms(to_unix_ms(core.now()));
  response.set_running_job_count(core.coordinator().running_job_count());
  response.set_active_host_count(core.active_host_count());
  std::string degraded = core.disk().state().sentence;
  const bool may_look =
      !degraded.empty() &&
      core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now());
  if (may_look) degraded += " (" + core.disk().folder().string() + ")";
  response.set_degraded(std::move(degraded));
  response.set_public_key(to_hex(core.signing_key().public_key()));
  response.set_run_by(core.run_by());
  co_return response;
}

}  // namespace

void add_server_service(net::ServiceTable& table, Core& core) {
  add_call(table, core, "ServerService/GetStatus", &get_status, Needs::kNothing, {},
           Admission::kAlways);
}

}  // namespace mh::server
