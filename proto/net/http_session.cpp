// See http_session.h.
#include "proto/net/http_session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <vector>

#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "proto/base/random.h"
#include "proto/net/http_open_call.h"

namespace mh::net {
namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::string_view kBlobPath = "/blob/sha256/";
constexpr std::string_view kUploadPath = "/upload";
constexpr std::size_t kSkipBytes = 64 * 1024;

KillPoint before_reply("reply.before");
KillPoint after_reply("reply.after");

// Up to a fifth earlier, so that connections made together do not end together.
HttpStream::Deadline random_age(std::chrono::milliseconds age) {
  thread_local Philox4x32 random(
      static_cast<std::uint64_t>(HttpStream::Clock::now().time_since_epoch().count()));
  const auto fifth = static_cast<std::uint64_t>(std::max<std::int64_t>(age.count() / 5, 1));
  return HttpStream::Clock::now() + age -
         std::chrono::milliseconds(static_cast<std::int64_t>(random.below(fifth)));
}

}  // namespace

Session::Session(std::shared_ptr<HttpServer::Impl> server, asio::ip::tcp::socket socket,
                 std::string peer_address, std::shared_ptr<AddressUse> address)
    : server_(std::move(server)),
      peer_address_(std::move(peer_address)),
      address_(std::move(address)),
      stream_(std::make_shared<HttpStream>(std::move(socket))),
      age_deadline_(random_age(server_->options.connection_age_max)) {}

Session::~Session() {
  --address_->connections;
  --server_->connections_open;
  server_->remove_session(this);
}

asio::awaitable<void> Session::run(std::shared_ptr<Session> self) {
  // The session lives as long as this frame.
  co_await self->serve();
}

asio::awaitable<void> Session::accept_tls() {
  is_idle_ = true;
  const Deadline deadline = Clock::now() + server_->options.handshake_timeout;
  ErrorCode error = co_await stream_->expect_tls(deadline);
  const bool is_plain = error == asio::error::no_protocol_option;
  if (!error) error = co_await stream_->accept_tls(server_->tls, deadline);
  is_idle_ = false;
  if (is_plain) {
    // It has sent its request readable already; in the same way it hears why that goes no further.
    co_await refuse_head(400, "this port speaks TLS only: use the server's https:// address");
  } else if (error) {
    is_open_ = false;
    server_->tell_failed_handshake(peer_address_, error);
  }
}

asio::awaitable<void> Session::serve() {
  if (server_->tls) co_await accept_tls();
  while (is_open_) {
    co_await serve_request();
    server_->bytes_received += stream_->bytes_received() - bytes_received_told_;
    server_->bytes_sent += stream_->bytes_sent() - bytes_sent_told_;
    bytes_received_told_ = stream_->bytes_received();
    bytes_sent_told_ = stream_->bytes_sent();
  }
}

void Session::stop() {
  asio::post(stream_->socket().get_executor(), [self = shared_from_this()] {
    self->is_stopping_ = true;
    if (self->is_idle_) self->stream_->cancel();
    if (self->call_) self->call_->end();
  });
}

void Session::abort() {
  asio::post(stream_->socket().get_executor(), [self = shared_from_this()] {
    self->is_stopping_ = self->is_aborted_ = true;
    self->is_open_ = false;
    if (self->call_) self->call_->abandon();
    self->stream_->abort();
  });
}

void Session::interrupt_upload() {
  asio::post(stream_->socket().get_executor(), [self = shared_from_this()] {
    if (!self->is_receiving_) return;
    self->is_interrupted_ = true;
    self->stream_->cancel();
  });
}

bool Session::may_keep_alive() const {
  return is_open_ && !is_stopping_ && head_.framing.keep_alive &&
         request_count_ < server_->options.requests_per_connection_max &&
         Clock::now() < age_deadline_;
}

std::chrono::milliseconds Session::time_for(std::uint64_t bytes) const {
  return std::chrono::milliseconds(
      static_cast<std::int64_t>(bytes * 1000 / server_->options.body_bytes_per_second_min));
}

Session::Deadline Session::write_deadline(std::uint64_t bytes) const {
  return Clock::now() + server_->options.write_timeout + time_for(bytes);
}

Session::Deadline Session::body_deadline(std::uint64_t bytes) const {
  return Clock::now() + server_->options.body_timeout + time_for(bytes);
}

asio::awaitable<std::size_t> Session::read_head() {
  const HttpServerOptions& options = server_->options;
  if (stream_->buffered().empty()) {
    stream_->shrink();
    head_ = RequestHead();
    is_idle_ = true;
    const ErrorCode error =
        co_await stream_->fill(options.header_bytes_max, Clock::now() + options.idle_timeout);
    is_idle_ = false;
    if (error) co_return std::size_t{0};
  }
  const Deadline deadline = Clock::now() + options.header_timeout;
  while (true) {
    const std::string_view bytes = stream_->buffered();
    const auto length = find_head(bytes.substr(0, options.header_bytes_max));
    if (!length.has_value()) {
      co_await refuse_head(400, length.error().message);
      co_return std::size_t{0};
    }
    if (*length) co_return **length;
    if (bytes.size() >= options.header_bytes_max) {
      co_await refuse_head(
          431, "the head is larger than " + std::to_string(options.header_bytes_max) + " bytes");
      co_return std::size_t{0};
    }
    const ErrorCode error = co_await stream_->fill(options.header_bytes_max, deadline);
    if (error == asio::error::timed_out)
      co_await refuse_head(408, "the head of the request took too long");
    if (error) co_return std::size_t{0};
  }
}

asio::awaitable<void> Session::refuse_head(int status, std::string why) {
  head_ = RequestHead();
  ++server_->requests;
  co_await refuse(plain_text_response(status, std::move(why)));
}

asio::awaitable<void> Session::serve_request() {
  const std::size_t length = co_await read_head();
  if (length == 0 || !is_open_) {
    is_open_ = false;
    co_return;
  }
  const HttpServerOptions& options = server_->options;
  HeadLimits limits;
  limits.bytes_max = options.header_bytes_max;
  limits.fields_max = options.header_fields_max;
  limits.target_bytes_max = options.target_bytes_max;
  const std::string_view raw = stream_->buffered().substr(0, length);
  auto parsed = parse_request_head(raw, limits);
  if (auto* refusal = std::get_if<HttpResponse>(&parsed)) {
    ++server_->requests;
    head_ = RequestHead();
    co_await refuse(std::move(*refusal));
    co_return;
  }
  head_ = std::get<RequestHead>(std::move(parsed));
  raw_head_ = head_.framing.is_chunked ? std::string(raw) : std::string();
  stream_->consume(length);
  head_.request.peer_address = peer_address_;
  body_left_ = head_.framing.content_length.value_or(0);
  has_chunks_left_ = head_.framing.is_chunked;
  must_continue_ = head_.expects_continue && stream_->buffered().empty();
  ++request_count_;
  ++server_->requests;
  co_await route();
}

asio::awaitable<void> Session::route() {
  const std::string path(head_.request.path());
  if (const MethodInfo* method = server_->services.core().find(path)) {
    co_await serve_call(method);
  } else if (path.starts_with(kBlobPath) && server_->blobs) {
    co_await serve_blob(std::string_view(path).substr(kBlobPath.size()));
  } else if (server_->uploads && (path == kUploadPath || path.starts_with("/upload/"))) {
    co_await serve_upload();
  } else if (const PageHandler* page = server_->find_page(path)) {
    co_await serve_page(page);
  } else {
    auto response = plain_text_response(404, "there is nothing at this path");
    co_await respond(std::move(response));
  }
}

asio::awaitable<void> Session::send(const HttpResponse& response) {
  const bool has_body = !is_head_request() && response.status != 204 && response.status != 304;
  const std::string head = response_head_text(response, response.body.size(), is_open_);
  const std::string_view body = has_body ? std::string_view(response.body) : std::string_view();
  before_reply.pass();
  const ErrorCode error = co_await stream_->write(head, body, write_deadline(body.size()));
  after_reply.pass();
  if (error) is_open_ = false;
}

asio::awaitable<void> Session::respond(HttpResponse response) {
  const bool can_skip =
      !must_continue_ && !has_chunks_left_ && body_left_ <= server_->options.drain_bytes_max;
  if (!can_skip || !may_keep_alive()) {
    if (body_left_ > 0 || has_chunks_left_) {
      co_await refuse(std::move(response));
      co_return;
    }
    is_open_ = false;
    co_await send(response);
    co_return;
  }
  co_await send(response);
  if (body_left_ > 0) {
    const bool is_whole = co_await skip_body();
    if (!is_whole) is_open_ = false;
  }
}

asio::awaitable<void> Session::refuse(HttpResponse response) {
  ++server_->requests_refused;
  const bool was_aborted = is_aborted_;
  is_open_ = false;
  if (was_aborted) co_return;
  co_await send(response);
  co_await linger();
}

asio::awaitable<void> Session::linger() {
  // Closing with unread bytes would reset the connection, and the answer with it.
  ErrorCode error;
  stream_->close_sending();
  const Deadline deadline = Clock::now() + server_->options.drain_timeout;
  std::uint64_t budget = server_->options.drain_bytes_max;
  std::vector<char> rubbish(kSkipBytes);
  stream_->consume(stream_->buffered().size());
  while (!error && budget > 0 && !is_aborted_) {
    const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(budget, kSkipBytes));
    const auto outcome = co_await stream_->read(std::span(rubbish).first(size), deadline);
    error = outcome.first;
    budget -= outcome.second;
  }
}

asio::awaitable<bool> Session::skip_body() {
  const Deadline deadline = Clock::now() + server_->options.drain_timeout;
  std::vector<char> rubbish(
      static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, kSkipBytes)));
  while (body_left_ > 0) {
    const std::size_t size =
        static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, rubbish.size()));
    const auto outcome = co_await stream_->read(std::span(rubbish).first(size), deadline);
    body_left_ -= outcome.second;
    if (outcome.first) co_return false;
  }
  co_return true;
}

asio::awaitable<bool> Session::send_continue() {
  if (!must_continue_) co_return true;
  must_continue_ = false;
  const ErrorCode error = co_await stream_->write(kContinue, "", write_deadline(0));
  if (error) is_open_ = false;
  co_return !error;
}

}  // namespace mh::net
