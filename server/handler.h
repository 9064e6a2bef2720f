// How a call reaches its handler: a handler is a coroutine `Result<Response> f(Core&, CallContext,
// Request)` that runs on the state strand from beginning to end. Private to server/handle_*.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
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

// An entry of the audit log, for the transaction that makes the change.
Transaction audited(Core& core, const Caller& caller, std::string action);

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

// Runs a call that was made but not started on the strand; with one io thread it is there already.
template <class Response>
asio::awaitable<Result<Response>> run_on_strand(asio::any_io_executor strand,
                                                asio::awaitable<Result<Response>> call) {
  const asio::any_io_executor here = co_await asio::this_coro::executor;
  if (here == strand) co_return co_await std::move(call);
  co_return co_await asio::co_spawn(std::move(strand), std::move(call), asio::use_awaitable);
}

// Whether a call is refused while the disk is behind (Core::is_full).
enum class Admission { kUnlessFull, kAlways };

// "Try again in a second", which a call is refused with before anything is done for it.
Error too_busy(net::ResponseMetadata& metadata);

// `call` was made but not started: its frame is the only one that keeps its message while it waits.
template <class Response>
asio::awaitable<Result<Response>> run_admitted(Core& core,
                                               std::shared_ptr<net::ResponseMetadata> metadata,
                                               std::shared_ptr<net::CallSignal> ended,
                                               asio::awaitable<Result<Response>> call) {
  if (core.is_full()) co_return too_busy(*metadata);
  if (!core.turnstile().try_enter()) co_await core.turnstile().enter();
  const Turnstile::Pass pass(core.turnstile());
  if (ended->is_set()) co_return fail(Errc::kCanceled, "the caller has gone");
  co_return co_await std::move(call);
}

// `method` is "WorkService/Attach". `core` must outlive the table.
template <class Request, class Response>
void add_call(net::ServiceTable& table, Core& core, const std::string& method,
              Handler<Request, Response> handler, Needs needs = Needs::kNothing,
              net::MethodOptions options = {}, Admission admission = Admission::kUnlessFull) {
  auto run = [&core, handler, needs, admission](net::CallContext context, Request request) {
    Status writable = check_disk(core, context, needs);
    if (!writable) return refused<Response>(std::move(writable).error());
    auto metadata = context.response;
    auto ended = context.ended;
    auto call = handler(core, std::move(context), std::move(request));
    if (admission == Admission::kUnlessFull)
      call = run_admitted<Response>(core, std::move(metadata), std::move(ended), std::move(call));
    return run_on_strand<Response>(core.strand(), std::move(call));
  };
  table.add<Request, Response>("/manyhands.v1." + method, std::move(run), options);
}

}  // namespace mh::server
