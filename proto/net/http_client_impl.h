// The one connection of an HttpClient: connects, sends a request, reads the reply, retries once
// when a kept-alive connection turns out dead. Transfers (http_client_downloads.cpp,
// http_client_uploads.cpp) are built on it. Only for proto/net/http_*.cpp. Threads: one executor.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "proto/net/http_client.h"
#include "proto/net/http_head.h"
#include "proto/net/http_stream.h"

namespace mh::net {

/// What is sent as a body: `read` copies bytes at an offset and may be asked again from any offset.
struct BodySource {
  std::uint64_t bytes = 0;
  std::function<Status(std::uint64_t offset, std::span<char> out)> read;
};

/// Deadlines of one request.
struct RequestDeadlines {
  /// For everything; max() for transfers, which have a deadline a piece.
  HttpStream::Deadline all = HttpStream::Deadline::max();
};

struct HttpClient::Impl : std::enable_shared_from_this<HttpClient::Impl> {
  Impl(asio::any_io_executor the_executor, Url the_server, HttpClientOptions the_options);

  using Deadline = HttpStream::Deadline;
  using ErrorCode = HttpStream::ErrorCode;

  /// Held for one request and its reply; a second request waits here.
  class Turn {
   public:
    explicit Turn(Impl& client) : client_(&client) {}
    ~Turn();
    Turn(Turn&& other) noexcept : client_(std::exchange(other.client_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;

   private:
    Impl* client_;
  };
  asio::awaitable<Turn> take_turn();

  /// Sends a request and reads the head of the reply; the body is then read by one of the three
  /// below. Errors: kUnavailable, kDeadlineExceeded, kCanceled, kUnknown.
  asio::awaitable<Result<ResponseHead>> begin(HttpRequest request, BodySource body,
                                              RequestDeadlines deadlines);
  /// The whole body in memory.
  asio::awaitable<Result<std::string>> read_body(std::uint64_t bytes_max,
                                                 RequestDeadlines deadlines);
  /// Some bytes of a body with a length; 0 at its end.
  asio::awaitable<Result<std::size_t>> read_piece(std::span<char> out);
  /// Ends the reply: the connection is kept if the body was read to its end.
  void end_reply();
  /// Ends the connection after an error.
  void drop();

  /// One request with its whole reply.
  asio::awaitable<Result<HttpResponse>> exchange(HttpRequest request, BodySource body,
                                                 RequestDeadlines deadlines,
                                                 std::uint64_t response_bytes_max);

  /// kCanceled if close() was called since `generation`, else the error given.
  Error explain(std::uint64_t the_generation, Error error) const;
  Deadline piece_deadline() const { return HttpStream::Clock::now() + options.piece_timeout; }
  /// For some bytes more: that of the request, or that of a piece.
  Deadline next_deadline(const RequestDeadlines& deadlines) const {
    return deadlines.all != Deadline::max() ? deadlines.all : piece_deadline();
  }
  Deadline reply_deadline(const RequestDeadlines& deadlines) const;

  const asio::any_io_executor executor;
  const Url server;
  HttpClientOptions options;
  /// Counts close().
  std::uint64_t generation = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;

 private:
  asio::awaitable<Result<ResponseHead>> begin_once(const std::string& head, const BodySource& body,
                                                   RequestDeadlines deadlines, bool& may_retry);
  asio::awaitable<Status> connect(Deadline deadline);
  asio::awaitable<Status> start_tls(Deadline deadline);
  asio::awaitable<Result<std::vector<asio::ip::tcp::endpoint>>> resolve(Deadline deadline);
  asio::awaitable<ErrorCode> send(const std::string& head, const BodySource& body,
                                  RequestDeadlines deadlines, Status& source_failure);
  asio::awaitable<Result<ResponseHead>> read_head(const RequestDeadlines& deadlines,
                                                  bool& has_bytes);
  std::string head_text(const HttpRequest& request, const BodySource& body) const;
  void count_bytes();
  Error error_of(const ErrorCode& error, std::string_view doing) const;

  std::shared_ptr<HttpStream> stream_;
  std::shared_ptr<TlsContext> tls_;
  bool is_head_request_ = false;
  std::string raw_head_;
  Framing framing_;
  std::uint64_t body_left_ = 0;
  // False: the server still waits for the rest of a body, whatever it has answered; what came next
  // on the connection would be taken for it.
  bool is_request_whole_ = true;
  std::uint64_t received_told_ = 0;
  std::uint64_t sent_told_ = 0;
  bool is_busy_ = false;
  asio::steady_timer waiters_;
};

/// The error that a reply of a blob or upload path stands for; `body` is its sentence.
Error error_of_reply(const HttpResponse& response, std::string_view doing);

}  // namespace mh::net
