// The server under test of the official Connect conformance suite, on the code that the product
// runs: HttpServer and ConnectCore. The runner says on stdin how to serve, learns the port from
// stdout, calls, and ends the program with SIGTERM. `make conformance` runs it.
#include <connectrpc/conformance/v1/server_compat.pb.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <iostream>

#include "proto/net/async.h"
#include "proto/net/http_server.h"
#include "tests/conformance/compat_messages.h"

namespace mh::net {
namespace {

using RequestInfo = conformance::ConformancePayload::RequestInfo;

// Sleeps, but no longer than somebody waits for the call.
asio::awaitable<void> delay(std::shared_ptr<CallSignal> ended, std::chrono::milliseconds most) {
  const auto executor = co_await asio::this_coro::executor;
  const auto timer = std::make_shared<asio::steady_timer>(executor, most);
  const auto subscription =
      ended->subscribe([timer, executor] { asio::post(executor, [timer] { timer->cancel(); }); });
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
  ended->unsubscribe(subscription);
}

RequestInfo describe(const CallContext& context, const Message& request) {
  RequestInfo info;
  *info.mutable_request_headers() = grouped(context.headers);
  if (context.timeout && context.deadline) {
    const auto left = *context.deadline - std::chrono::steady_clock::now();
    info.set_timeout_ms(std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
  }
  info.add_requests()->PackFrom(request);
  Headers query;
  for (const auto& [name, value] : context.query) query.add(name, value);
  if (context.is_get) *info.mutable_connect_get_info()->mutable_query_params() = grouped(query);
  return info;
}

// Does what the request's definition of the response says.
template <class Request, class Response>
asio::awaitable<Result<Response>> answer(CallContext context, Request request) {
  const RequestInfo info = describe(context, request);
  const conformance::UnaryResponseDefinition& wanted = request.response_definition();
  context.response->headers = flattened(wanted.response_headers());
  context.response->trailers = flattened(wanted.response_trailers());
  if (wanted.response_delay_ms() > 0)
    co_await delay(context.ended, std::chrono::milliseconds(wanted.response_delay_ms()));
  if (wanted.has_error()) {
    auto& details = context.response->error_details;
    for (const auto& any : wanted.error().details()) details.push_back(to_detail(any));
    google::protobuf::Any echo;
    echo.PackFrom(info);
    details.push_back(to_detail(echo));
    co_return fail(static_cast<Errc>(wanted.error().code()), wanted.error().message());
  }
  Response response;
  response.mutable_payload()->set_data(wanted.response_data());
  *response.mutable_payload()->mutable_request_info() = info;
  co_return response;
}

template <class Request, class Response>
void add(ServiceTable& table, const std::string& method, MethodOptions options) {
  auto run = [](CallContext context, Request request) {
    return answer<Request, Response>(std::move(context), std::move(request));
  };
  table.add<Request, Response>("/connectrpc.conformance.v1.ConformanceService/" + method, run,
                               options);
}

// Unimplemented is left out on purpose: the suite calls it.
ServiceTable services(std::uint64_t request_bytes_max) {
  MethodOptions options;
  options.request_bytes_max = options.json_bytes_max = request_bytes_max;
  ServiceTable table;
  add<conformance::UnaryRequest, conformance::UnaryResponse>(table, "Unary", options);
  add<conformance::IdempotentUnaryRequest, conformance::IdempotentUnaryResponse>(
      table, "IdempotentUnary", options);
  return table;
}

asio::awaitable<void> stop(HttpServer& server, asio::io_context& io) {
  co_await server.stop();
  io.stop();
}

Status serve() {
  conformance::ServerCompatRequest request;
  MH_TRY(const bool is_there, read_compat_message(request));
  if (!is_there) return fail(Errc::kInvalidArgument, "stdin is empty: the runner starts this");
  HttpServerOptions options;
  if (request.use_tls()) {
    options.tls_certificate_pem = request.server_creds().cert();
    options.tls_key_pem = request.server_creds().key();
  }
  asio::io_context io{1};
  asio::thread_pool pool{1};
  HttpServer server(io.get_executor(), pool.get_executor(), options);
  server.set_services(services(request.message_receive_limit()));
  conformance::ServerCompatResponse response;
  response.set_host("127.0.0.1");
  MH_TRY(const std::uint16_t port, server.start(response.host(), 0));
  response.set_port(port);
  response.set_pem_cert(options.tls_certificate_pem);
  // The end of stdin does not mean stop.
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code&, int) {
    asio::co_spawn(io, stop(server, io), [](const std::exception_ptr&) {});
  });
  MH_TRY_VOID(write_compat_message(response));
  io.run();
  pool.join();
  return {};
}

}  // namespace
}  // namespace mh::net

int main() {
  const mh::Status status = mh::net::serve();
  if (status.has_value()) return 0;
  std::cerr << "conformance_server: " << status.error().message << "\n";
  return 1;
}
