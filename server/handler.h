// How a call reaches its handler: a handler is a coroutine `Result<Response> f(Core&, CallContext,
// Request)` that runs on the state strand from beginning to end. Private to server/handle_*.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "proto/net/http_server.h"
#include "server/core.h"

namespace mh::server {

// How long to hold a call that asked for `wanted_ms`: bounded, and answered before the caller's own
// limit. Not above 0: do not hold it.
std::chrono::milliseconds hold_time(const net::CallContext& context, std::uint32_t wanted_ms);

// "There is no job 7", and what shows those that are.
Error no_such_job(std::uint64_t id);

// What a call needs to write: nothing, rows of the database, or blobs as well.
enum class Needs { kNothing, kStore, kRoom };

// Refuses, before any work is done, what could not be written now; tells the caller when to come
// again. Errors: kUnavailable. Threads: any.
Status check_disk(const Core& core, const net::CallContext& context, Needs needs);

template <class Response>
asio::awaitable<Result<Response>> refused(Error error) {
  co_return error;
}

template <class Request, class Response>
using Handler = asio::awaitable<Result<Response>> (*)(Core& core, net::CallContext context,
                                                      Request request);

// Runs a call that was made but not started on the strand.
template <class Response>
asio::awaitable<Result<Response>> run_on_strand(asio::any_io_executor strand,
                                                asio::awaitable<Result<Response>> call) {
  co_return co_await asio::co_spawn(std::move(strand), std::move(call), asio::use_awaitable);
}

// `method` is "WorkService/Attach". `core` must outlive the table.
template <class Request, class Response>
void add_call(net::ServiceTable& table, Core& core, const std::string& method,
              Handler<Request, Response> handler, Needs needs = Needs::kNothing,
              net::MethodOptions options = {}) {
  auto run = [&core, handler, needs](net::CallContext context, Request request) {
    Status writable = check_disk(core, context, needs);
    if (!writable) return refused<Response>(std::move(writable).error());
    return run_on_strand<Response>(core.strand(),
                                   handler(core, std::move(context), std::move(request)));
  };
  table.add<Request, Response>("/manyhands.v1." + method, std::move(run), options);
}

}  // namespace mh::server
