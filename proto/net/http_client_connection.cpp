// The connection of a client. See http_client_impl.h.
#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/utf8.h"
#include "proto/net/async.h"
#include "proto/net/connect_json.h"
#include "proto/net/http_client_impl.h"

namespace mh::net {
namespace {

using asio::ip::tcp;

// Small enough that the allocator has it at hand: fresh pages would cost more than the sending.
constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::size_t kBodyPieceBytes = 1024 * 1024;
constexpr std::size_t kChunkBufferBytes = 64 * 1024;
constexpr std::size_t kSentenceBytesMax = 300;
constexpr auto kLastWords = std::chrono::seconds(2);
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

// What getaddrinfo found, handed over by its handler, which may come after nobody waits any more.
struct Resolution {
  explicit Resolution(const asio::any_io_executor& executor) : wake(executor), resolver(executor) {}
  asio::steady_timer wake;
  tcp::resolver resolver;
  bool is_done = false;
  boost::system::error_code error;
  std::vector<tcp::endpoint> endpoints;
};

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

HttpClient::Impl::Impl(asio::any_io_executor the_executor, Url the_server,
                       HttpClientOptions the_options)
    : executor(std::move(the_executor)),
      server(std::move(the_server)),
      options(std::move(the_options)),
      waiters_(executor, HttpStream::Deadline::max()) {}

HttpClient::Impl::Turn::~Turn() {
  if (client_ == nullptr) return;
  client_->is_busy_ = false;
  client_->waiters_.cancel_one();
}

asio::awaitable<HttpClient::Impl::Turn> HttpClient::Impl::take_turn() {
  while (is_busy_) co_await waiters_.async_wait(kToken);
  is_busy_ = true;
  co_return Turn(*this);
}

Error HttpClient::Impl::explain(std::uint64_t the_generation, Error error) const {
  if (the_generation == generation) return error;
  return fail(Errc::kCanceled, "the connection to " + server.text() + " was closed here");
}

Error HttpClient::Impl::error_of(const ErrorCode& error, std::string_view doing) const {
  const std::string where = " " + server.text() + ": ";
  if (error == asio::error::timed_out)
    return fail(Errc::kDeadlineExceeded, std::string(doing) + where + "it took too long");
  if (error == asio::error::eof)
    return fail(Errc::kUnavailable,
                std::string(doing) + where + "the server closed the connection");
  std::string why = error.message();
  if (!why.empty() && why.front() >= 'A' && why.front() <= 'Z') why.front() += 'a' - 'A';
  return fail(Errc::kUnavailable, std::string(doing) + where + why);
}

HttpClient::Impl::Deadline HttpClient::Impl::reply_deadline(
    const RequestDeadlines& deadlines) const {
  if (deadlines.all != Deadline::max()) return deadlines.all;
  return HttpStream::Clock::now() + options.reply_timeout;
}

asio::awaitable<Result<std::vector<tcp::endpoint>>> HttpClient::Impl::resolve(Deadline deadline) {
  ErrorCode error;
  const auto address = asio::ip::make_address(server.host, error);
  if (!error) co_return std::vector<tcp::endpoint>{tcp::endpoint(address, server.port)};
  const auto state = std::make_shared<Resolution>(executor);
  auto on_end = [state](const ErrorCode& outcome, const tcp::resolver::results_type& found) {
    state->is_done = true;
    state->error = outcome;
    for (const auto& entry : found) state->endpoints.push_back(entry.endpoint());
    state->wake.cancel();
  };
  state->resolver.async_resolve(server.host, std::to_string(server.port), std::move(on_end));
  state->wake.expires_at(deadline);
  while (!state->is_done && HttpStream::Clock::now() < deadline)
    co_await state->wake.async_wait(kToken);
  if (!state->is_done) state->error = asio::error::timed_out;
  if (state->error || state->endpoints.empty())
    co_return fail(Errc::kUnavailable, "cannot connect to " + server.text() +
                                           ": there is no address for the host '" + server.host +
                                           "' (" + state->error.message() + ")");
  co_return state->endpoints;
}

asio::awaitable<Status> HttpClient::Impl::connect(Deadline deadline) {
  deadline = std::min(deadline, HttpStream::Clock::now() + options.connect_timeout);
  const std::uint64_t started = generation;
  auto endpoints = co_await resolve(deadline);
  if (!endpoints.has_value()) co_return endpoints.error();
  ErrorCode error = asio::error::timed_out;
  auto left = static_cast<std::int64_t>(endpoints->size());
  for (const tcp::endpoint& endpoint : *endpoints) {
    // Each address has its share of the time: the first may be one that answers nothing.
    const auto now = HttpStream::Clock::now();
    if (now >= deadline) break;
    const Deadline share = now + (deadline - now) / left--;
    if (generation != started) co_return fail(Errc::kCanceled, "closed");
    stream_ = std::make_shared<HttpStream>(tcp::socket(executor));
    received_told_ = sent_told_ = 0;
    const auto stream = stream_;
    error = co_await stream->connect(endpoint, share);
    if (error || stream_ != stream) continue;
    Status ready;
    if (server.is_tls) ready = co_await start_tls(deadline);
    if (!ready.has_value()) stream_.reset();
    co_return ready;
  }
  stream_.reset();
  co_return error_of(error, "cannot connect to");
}

asio::awaitable<Status> HttpClient::Impl::start_tls(Deadline deadline) {
  if (!tls_) {
    MH_CO_TRY(tls_, TlsContext::for_client(options.tls_trusted_pem, options.tls_fingerprint));
  }
  const auto stream = stream_;
  const ErrorCode error = co_await stream->connect_tls(tls_, server.host, deadline);
  if (!error) co_return Status();
  std::string why = stream->distrust();
  if (stream->has_wrong_key() && !options.tls_advice.empty()) why += ". " + options.tls_advice;
  if (why.empty()) why = explain_handshake(error);
  if (why.empty()) co_return error_of(error, "cannot connect to");
  co_return fail(Errc::kUnavailable, "cannot connect to " + server.text() + ": " + why);
}

std::string HttpClient::Impl::head_text(const HttpRequest& request, const BodySource& body) const {
  std::string text;
  text.reserve(512);
  text.append(request.method).append(" ").append(server.base_path).append(request.target);
  text.append(" HTTP/1.1\r\nHost: ").append(server.authority());
  text.append("\r\nUser-Agent: ").append(options.user_agent).append("\r\n");
  if (!options.bearer_token.empty())
    text.append("Authorization: Bearer ").append(options.bearer_token).append("\r\n");
  for (const auto& [name, value] : request.headers) {
    if (is_header_name(name) && is_header_value(value))
      text.append(name).append(": ").append(value).append("\r\n");
  }
  if (body.bytes > 0 || request.method == "POST" || request.method == "PATCH")
    text.append("Content-Length: ").append(std::to_string(body.bytes)).append("\r\n");
  return text.append("\r\n");
}

asio::awaitable<HttpClient::Impl::ErrorCode> HttpClient::Impl::send(const std::string& head,
                                                                    const BodySource& body,
                                                                    RequestDeadlines deadlines,
                                                                    Status& source_failure) {
  const auto stream = stream_;
  std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(body.bytes, kPieceBytes)),
                    '\0');
  std::uint64_t done = 0;
  bool is_first = true;
  is_request_whole_ = false;
  do {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(body.bytes - done, kPieceBytes)));
    if (!piece.empty()) source_failure = body.read(done, piece);
    if (!source_failure.has_value()) co_return asio::error::operation_aborted;
    const Deadline deadline = std::min(deadlines.all, piece_deadline());
    const std::string_view front = is_first ? std::string_view(head) : std::string_view();
    const ErrorCode error = co_await stream->write(front, piece, deadline);
    if (error) co_return error;
    is_first = false;
    done += piece.size();
    // An answer before the end of the request is a refusal: the rest is of no use.
  } while (done < body.bytes && !stream->has_news());
  is_request_whole_ = done == body.bytes;
  co_return ErrorCode();
}

asio::awaitable<Result<ResponseHead>> HttpClient::Impl::read_head(const RequestDeadlines& deadlines,
                                                                  bool& has_bytes) {
  const auto stream = stream_;
  if (!stream) co_return explain(generation - 1, Error());
  const Deadline deadline = reply_deadline(deadlines);
  while (true) {
    has_bytes = has_bytes || !stream->buffered().empty();
    const auto length = find_head(stream->buffered());
    if (!length.has_value())
      co_return fail(Errc::kUnknown,
                     server.text() + " does not answer in HTTP/1.1: is this a Manyhands server?");
    if (*length) {
      const std::string_view raw = stream->buffered().substr(0, **length);
      auto head = parse_response_head(raw);
      if (!head.has_value()) co_return head.error();
      raw_head_ = head->framing.is_chunked ? std::string(raw) : std::string();
      stream->consume(**length);
      if (head->response.status >= 200) co_return *std::move(head);
      continue;  // 100 Continue
    }
    const ErrorCode error = co_await stream->fill(options.header_bytes_max, deadline);
    if (error == asio::error::no_buffer_space)
      co_return fail(Errc::kResourceExhausted, "the head of the reply is larger than " +
                                                   std::to_string(options.header_bytes_max) +
                                                   " bytes");
    if (error) co_return error_of(error, "no answer from");
  }
}

asio::awaitable<Result<ResponseHead>> HttpClient::Impl::begin_once(const std::string& head,
                                                                   const BodySource& body,
                                                                   RequestDeadlines deadlines,
                                                                   bool& may_retry) {
  const bool is_reused = stream_ != nullptr;
  if (!is_reused) MH_CO_TRY_VOID(co_await connect(deadlines.all));
  Status source_failure;
  const ErrorCode error = co_await send(head, body, deadlines, source_failure);
  if (!source_failure.has_value()) co_return source_failure.error();
  if (error == asio::error::timed_out) co_return error_of(error, "cannot send to");
  bool has_bytes = false;
  RequestDeadlines patience = deadlines;
  // The server may have refused and closed: its answer is then still to be read.
  if (error) patience.all = std::min(deadlines.all, HttpStream::Clock::now() + kLastWords);
  auto reply = co_await read_head(patience, has_bytes);
  if (reply.has_value()) co_return reply;
  may_retry = is_reused && !has_bytes && reply.error().code == Errc::kUnavailable;
  if (error) co_return error_of(error, "cannot send to");
  co_return reply;
}

asio::awaitable<Result<ResponseHead>> HttpClient::Impl::begin(HttpRequest request, BodySource body,
                                                              RequestDeadlines deadlines) {
  const std::uint64_t started = generation;
  const std::string head = head_text(request, body);
  is_head_request_ = request.method == "HEAD";
  // The server may have closed an idle connection, or said something nobody asked for.
  if (stream_ && stream_->has_news()) drop();
  bool may_retry = false;
  auto reply = co_await begin_once(head, body, deadlines, may_retry);
  if (!reply.has_value() && may_retry && generation == started) {
    drop();
    reply = co_await begin_once(head, body, deadlines, may_retry);
  }
  count_bytes();
  if (!reply.has_value()) {
    drop();
    co_return explain(started, reply.error());
  }
  framing_ = reply->framing;
  const int status = reply->response.status;
  const bool has_body = !is_head_request_ && status != 204 && status != 304;
  if (!has_body) {
    framing_.is_chunked = false;
    framing_.content_length = 0;
  }
  body_left_ = framing_.content_length.value_or(0);
  co_return reply;
}

asio::awaitable<Result<std::string>> HttpClient::Impl::read_body(std::uint64_t bytes_max,
                                                                 RequestDeadlines deadlines) {
  const std::uint64_t started = generation;
  const auto stream = stream_;
  if (!stream) co_return explain(started - 1, Error());
  const auto too_large = [bytes_max] {
    return fail(Errc::kResourceExhausted,
                "the reply is larger than " + std::to_string(bytes_max) + " bytes");
  };
  std::string body;
  ErrorCode error;
  if (framing_.content_length) {
    if (body_left_ > bytes_max) co_return too_large();
    body.resize(static_cast<std::size_t>(body_left_));
    while (body_left_ > 0 && !error) {
      const std::size_t done = body.size() - static_cast<std::size_t>(body_left_);
      const auto piece =
          std::span(body).subspan(done, std::min(body.size() - done, kBodyPieceBytes));
      const auto outcome = co_await stream->read(piece, next_deadline(deadlines));
      error = outcome.first;
      body_left_ -= outcome.second;
    }
  } else if (framing_.is_chunked) {
    ChunkedBody chunks(ChunkedBody::Side::kResponse, raw_head_, bytes_max);
    while (!error) {
      const auto used = chunks.put(stream->buffered());
      if (!used.has_value()) co_return used.error();
      stream->consume(*used);
      if (chunks.is_done()) break;
      error = co_await stream->fill(kChunkBufferBytes, next_deadline(deadlines));
    }
    if (!error) body = chunks.take();
  } else {
    framing_.keep_alive = false;
    while (!error) {
      body.append(stream->buffered());
      stream->consume(stream->buffered().size());
      if (body.size() > bytes_max) co_return too_large();
      error = co_await stream->fill(kChunkBufferBytes, next_deadline(deadlines));
    }
    if (error == asio::error::eof) error = ErrorCode();
  }
  count_bytes();
  if (error) co_return explain(started, error_of(error, "the reply was cut:"));
  co_return body;
}

asio::awaitable<Result<std::size_t>> HttpClient::Impl::read_piece(std::span<char> out) {
  const std::uint64_t started = generation;
  const auto stream = stream_;
  if (!stream) co_return explain(started - 1, Error());
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), body_left_));
  if (size == 0) co_return std::size_t{0};
  const auto outcome = co_await stream->read(out.first(size), piece_deadline());
  body_left_ -= outcome.second;
  count_bytes();
  // What came before a cut is used first; the next read tells of the cut.
  if (outcome.second > 0 && generation == started) co_return outcome.second;
  co_return explain(started, error_of(outcome.first, "the transfer was cut:"));
}

void HttpClient::Impl::end_reply() {
  if (!stream_) return;
  if (body_left_ > 0 || !framing_.keep_alive || !is_request_whole_) return drop();
  stream_->shrink();
}

void HttpClient::Impl::drop() {
  if (!stream_) return;
  count_bytes();
  stream_->abort();
  stream_.reset();
}

void HttpClient::Impl::count_bytes() {
  if (!stream_) return;
  bytes_received += stream_->bytes_received() - received_told_;
  bytes_sent += stream_->bytes_sent() - sent_told_;
  received_told_ = stream_->bytes_received();
  sent_told_ = stream_->bytes_sent();
}

asio::awaitable<Result<HttpResponse>> HttpClient::Impl::exchange(HttpRequest request,
                                                                 BodySource body,
                                                                 RequestDeadlines deadlines,
                                                                 std::uint64_t response_bytes_max) {
  auto head = co_await begin(std::move(request), std::move(body), deadlines);
  if (!head.has_value()) co_return head.error();
  auto content = co_await read_body(response_bytes_max, deadlines);
  if (!content.has_value()) {
    drop();
    co_return content.error();
  }
  end_reply();
  HttpResponse response = std::move(head->response);
  response.body = *std::move(content);
  co_return response;
}

Error error_of_reply(const HttpResponse& response, std::string_view doing) {
  const int status = response.status;
  const std::string_view type = response.headers.find("Content-Type").value_or("");
  const std::string start = std::string(doing) + ": ";
  if (status >= 300 && status < 400)
    return fail(Errc::kUnknown,
                start + "the server redirects to '" +
                    plain_text(response.headers.find("Location").value_or(""), 200) +
                    "': give that address instead");
  if (status < 300)
    return fail(Errc::kUnknown,
                start + "the reply is a " + plain_text(type, 80) + ": is this a Manyhands server?");
  Errc code = Errc::kUnknown;
  if (status == 400 || status == 415 || status == 411) code = Errc::kInvalidArgument;
  if (status == 401) code = Errc::kUnauthenticated;
  if (status == 403) code = Errc::kPermissionDenied;
  if (status == 404 || status == 410) code = Errc::kNotFound;
  if (status == 409 || status == 423) code = Errc::kAborted;
  if (status == 413 || status == 429) code = Errc::kResourceExhausted;
  if (status == 416) code = Errc::kOutOfRange;
  if (status == 460) code = Errc::kDataLoss;
  if (status == 408 || status == 502 || status == 503 || status == 504) code = Errc::kUnavailable;
  if (status == 500) code = Errc::kInternal;
  const bool is_sentence = type.starts_with("text/plain");
  return fail(code, start + "status " + std::to_string(status) + ", " +
                        (is_sentence ? first_line(response.body.substr(0, kSentenceBytesMax))
                                     : std::string(reason_phrase(status))));
}

}  // namespace mh::net
