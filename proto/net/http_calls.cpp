// Connect calls and pages of a session: bodies in memory, handlers, callers that go away.
// See http_session.h.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "proto/base/log.h"
#include "proto/net/http_open_call.h"
#include "proto/net/http_session.h"

namespace mh::net {
namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr auto kLookInterval = std::chrono::milliseconds(250);
// Most handlers end within the time of a commit: only callers who wait longer are watched.
constexpr auto kWatchAfter = std::chrono::milliseconds(100);
// Also bounds a chunk's extensions and the trailer, which no limit of the parser does.
constexpr std::size_t kChunkBufferBytes = 64 * 1024;
// A body in chunks of one byte has six bytes on the wire for each.
constexpr std::uint64_t kWireBytesPerByteMax = 8;
// A message of at most so many bytes is not weighed: the number of calls bounds those.
constexpr std::size_t kUnweighedBytes = 1024;

HttpResponse overloaded(const std::string& what) {
  HttpResponse response = ConnectCore::encode_error(
      fail(Errc::kUnavailable, "the server has too much to do (" + what + "): try again"));
  response.headers.add("Retry-After", "1");
  return response;
}

HttpResponse too_large(std::uint64_t bytes_max) {
  return ConnectCore::encode_error(
      fail(Errc::kResourceExhausted,
           "the request has more than " + std::to_string(bytes_max) + " bytes"));
}

std::string text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "unknown exception";
  }
}

}  // namespace

asio::awaitable<void> Session::serve_call(const MethodInfo* method) {
  auto slot = std::make_shared<CallSlot>(server_, address_);
  BodyOrRefusal body = co_await receive_call(method);
  if (!is_open_) co_return;
  if (auto* refusal = std::get_if<HttpResponse>(&body)) {
    // Not held while the rest of the body is read and dropped.
    slot.reset();
    co_await refuse(std::move(*refusal));
    co_return;
  }
  HttpRequest request = std::move(head_.request);
  request.body = std::get<std::string>(std::move(body));
  head_.request.method = request.method;
  auto decoded = server_->services.core().decode(*method, std::move(request));
  if (auto* refusal = std::get_if<HttpResponse>(&decoded)) {
    slot.reset();
    co_await respond(std::move(*refusal));
    co_return;
  }
  DecodedCall call = std::get<DecodedCall>(std::move(decoded));
  if (call.request->ByteSizeLong() > kUnweighedBytes) {
    // Empty sub-messages take two bytes on the wire and some hundred in memory.
    slot->memory = Slot::take(server_->body_bytes_in_flight, call.request->SpaceUsedLong(),
                              server_->options.body_bytes_in_flight_max);
    if (!slot->memory) {
      call.request.reset();
      slot.reset();
      co_await respond(overloaded("requests in memory"));
      co_return;
    }
  }
  co_await run_call(std::move(call), std::move(slot));
}

asio::awaitable<Session::BodyOrRefusal> Session::receive_call(const MethodInfo* method) {
  const HttpServerOptions& options = server_->options;
  if (server_->calls_open > options.calls_max || address_->calls > options.calls_per_address_max)
    co_return overloaded("calls under way");
  if (!head_.has_body()) co_return std::string();
  const std::uint64_t bytes_max = ConnectCore::body_bytes_max(*method);
  const std::uint64_t bytes = head_.framing.content_length.value_or(bytes_max);
  if (bytes > bytes_max) co_return too_large(bytes_max);
  const Slot memory =
      Slot::take(server_->body_bytes_in_flight, bytes, options.body_bytes_in_flight_max);
  if (!memory) co_return overloaded("requests in memory");
  co_return co_await read_body(bytes_max);
}

asio::awaitable<Session::BodyOrRefusal> Session::read_body(std::uint64_t bytes_max) {
  const bool goes_on = co_await send_continue();
  if (!goes_on) co_return std::string();
  if (head_.framing.is_chunked) co_return co_await read_chunked_body(bytes_max);
  std::string body(static_cast<std::size_t>(body_left_), '\0');
  const auto outcome = co_await stream_->read(body, body_deadline(body.size()));
  body_left_ -= outcome.second;
  if (outcome.first == asio::error::timed_out)
    co_return plain_text_response(408, "the body of the request took too long");
  if (outcome.first) is_open_ = false;
  co_return body;
}

asio::awaitable<Session::BodyOrRefusal> Session::read_chunked_body(std::uint64_t bytes_max) {
  ChunkedBody body(ChunkedBody::Side::kRequest, raw_head_, bytes_max);
  const Deadline start = body_deadline(0);
  std::uint64_t bytes_done = 0;
  while (true) {
    const auto used = body.put(stream_->buffered());
    if (!used.has_value() && used.error().code == Errc::kResourceExhausted)
      co_return too_large(bytes_max);
    if (!used.has_value()) co_return plain_text_response(400, used.error().message);
    stream_->consume(*used);
    bytes_done += *used;
    if (body.is_done()) break;
    if (bytes_done > kChunkBufferBytes + kWireBytesPerByteMax * body.bytes())
      co_return plain_text_response(400, "the body has more framing than content");
    // How long the body will be is not known: each byte buys its share of time.
    const Deadline deadline = start + time_for(bytes_done);
    const ErrorCode error = co_await stream_->fill(kChunkBufferBytes, deadline);
    if (error == asio::error::timed_out)
      co_return plain_text_response(408, "the body of the request took too long");
    if (error == asio::error::no_buffer_space)
      co_return plain_text_response(400, "a chunk's extensions or the trailer are too long");
    if (error) {
      is_open_ = false;
      co_return std::string();
    }
  }
  has_chunks_left_ = false;
  co_return body.take();
}

asio::awaitable<void> Session::run_call(DecodedCall call, std::shared_ptr<CallSlot> slot) {
  const auto executor = stream_->socket().get_executor();
  const auto limit = server_->options.call_timeout_max;
  if (call.context.timeout) call.context.timeout = std::min(*call.context.timeout, limit);
  const auto timeout = call.context.timeout.value_or(limit);
  const Deadline deadline = Clock::now() + timeout;
  call.context.deadline = deadline;
  call_ = std::make_shared<OpenCall>(executor, call.context.ended);
  const std::shared_ptr<OpenCall> open = call_;
  if (is_stopping_) open->end();

  const auto& handler = server_->services.handler(call.method->path);
  // The handler gets the context; what is encoded afterwards needs only the metadata.
  const std::shared_ptr<ResponseMetadata> metadata = call.context.response;
  try {
    auto running = handler(std::move(call.context), std::move(call.request));
    auto on_end = [open, slot = std::move(slot), path = call.method->path](
                      const std::exception_ptr& exception,
                      Result<std::unique_ptr<Message>> result) {
      if (exception) {
        log_error("a handler threw: " + text_of(exception), {{"method", path}});
        result = fail(Errc::kInternal, "the server made a mistake; its log has the details");
      }
      open->finish(std::move(result));
    };
    asio::co_spawn(executor, std::move(running), std::move(on_end));
  } catch (const std::exception& error) {
    log_error(std::string("a handler threw: ") + error.what(), {{"method", call.method->path}});
    open->finish(fail(Errc::kInternal, "the server made a mistake; its log has the details"));
  }
  // A handler that waited for nobody has ended by then, and nothing needs to be watched.
  co_await asio::post(executor, asio::use_awaitable);
  if (!open->outcome) co_await wait_for_outcome(open, deadline);
  call_.reset();
  if (open->is_abandoned) co_return;
  if (!open->outcome) {
    // The handler goes on to its end (a commit is not cut in two), but nobody hears of it.
    open->end();
    open->outcome.emplace(
        fail(Errc::kDeadlineExceeded,
             "the call took longer than " + std::to_string(timeout.count()) + " ms"));
    call.context.response = std::make_shared<ResponseMetadata>();
  } else {
    call.context.response = metadata;
  }
  auto response = ConnectCore::encode(call, *std::move(open->outcome));
  co_await respond(std::move(response));
}

asio::awaitable<void> Session::wait_for_outcome(std::shared_ptr<OpenCall> open, Deadline deadline) {
  open->wake.expires_at(std::min(deadline, Clock::now() + kWatchAfter));
  co_await open->wake.async_wait(kToken);
  if (!open->outcome && !open->is_abandoned && Clock::now() < deadline) {
    watch_caller(open);
    stream_->drop_empty_buffer();
    open->wake.expires_at(deadline);
    while (!open->outcome && !open->is_abandoned && Clock::now() < deadline)
      co_await open->wake.async_wait(kToken);
    open->look.cancel();
    stream_->cancel();
  }
  open->is_over = true;
}

void Session::watch_caller(const std::shared_ptr<OpenCall>& call) {
  auto on_readable = [weak = weak_from_this(), call](ErrorCode error) {
    const auto self = weak.lock();
    if (error || call->is_over || !self) return;
    if (self->stream_->has_peer_gone()) return call->end();
    // The next request is there already, and keeps the socket readable: look now and then instead.
    self->look_at_caller(call);
  };
  stream_->socket().async_wait(asio::ip::tcp::socket::wait_read, std::move(on_readable));
}

void Session::look_at_caller(const std::shared_ptr<OpenCall>& call) {
  call->look.expires_after(kLookInterval);
  call->look.async_wait([weak = weak_from_this(), call](ErrorCode error) {
    const auto self = weak.lock();
    if (error || call->is_over || !self) return;
    if (self->stream_->has_peer_gone()) return call->end();
    self->look_at_caller(call);
  });
}

asio::awaitable<void> Session::serve_page(const PageHandler* page) {
  if (head_.request.method != "GET" && !is_head_request()) {
    auto response = plain_text_response(405, "this page can only be read");
    response.headers.add("Allow", "GET, HEAD");
    co_await respond(std::move(response));
    co_return;
  }
  HttpResponse response;
  try {
    HttpRequest request = head_.request;
    auto answer = (*page)(std::move(request));
    response = co_await std::move(answer);
  } catch (const std::exception& error) {
    log_error(std::string("a page threw: ") + error.what(), {{"path", head_.request.path()}});
    response = plain_text_response(500, "the server made a mistake; its log has the details");
  }
  co_await respond(std::move(response));
}

}  // namespace mh::net
