// A connection, plain or TLS, with a read buffer, whose every operation has a deadline. The lowest
// layer of server sessions and of clients, and the only type of stream: what is built on it is
// compiled once.
// One timer a connection: moving the deadline later costs nothing, since the timer looks at it only
// when it fires.
// Threads: the socket's executor (a strand or a one-threaded context); one operation at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/net/http_tls.h"

namespace mh::net {

namespace asio = boost::asio;

class HttpStream : public std::enable_shared_from_this<HttpStream> {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;
  using ErrorCode = boost::system::error_code;

  /// Made by std::make_shared only. The socket may be unconnected.
  explicit HttpStream(asio::ip::tcp::socket socket);

  asio::ip::tcp::socket& socket() { return socket_; }

  // Errors of the operations: timed_out after the deadline, eof, and what the socket says.
  // operation_aborted after cancel().

  asio::awaitable<ErrorCode> connect(asio::ip::tcp::endpoint endpoint, Deadline deadline);
  /// Makes the connection a TLS one, as the server, or as a client of `host`.
  asio::awaitable<ErrorCode> accept_tls(std::shared_ptr<TlsContext> context, Deadline deadline);
  /// Waits for the first byte and leaves it where it is; no_protocol_option if no handshake of TLS
  /// begins with it.
  asio::awaitable<ErrorCode> expect_tls(Deadline deadline);
  asio::awaitable<ErrorCode> connect_tls(std::shared_ptr<TlsContext> context, std::string host,
                                         Deadline deadline);
  /// Reads some bytes behind buffered(); no_buffer_space if that would exceed bytes_max.
  asio::awaitable<ErrorCode> fill(std::size_t bytes_max, Deadline deadline);
  /// Reads exactly `bytes.size()` bytes, first those that are buffered. The count is right in every
  /// case.
  asio::awaitable<std::pair<ErrorCode, std::size_t>> read(std::span<char> bytes, Deadline deadline);
  /// Writes both, together where possible.
  asio::awaitable<ErrorCode> write(std::string_view first, std::string_view second,
                                   Deadline deadline);
  /// For whoever writes to the descriptor itself, which is no use with TLS.
  asio::awaitable<ErrorCode> wait_writable(Deadline deadline);

  /// Bytes read and not yet consumed.
  std::string_view buffered() const { return {storage_.data() + begin_, end_ - begin_}; }
  void consume(std::size_t count) { begin_ += count; }
  /// Gives memory back before a long wait: what is more than a common call needs, or all of it.
  void shrink();
  void drop_empty_buffer();

  bool is_tls() const { return tls_ != nullptr; }
  /// Why the server was refused, and what can be done about it; empty: it was not.
  std::string distrust() const { return tls_ ? tls_->distrust() : std::string(); }
  bool has_wrong_key() const { return tls_ && tls_->wrong_fingerprint().has_value(); }

  /// Ends the operation under way.
  void cancel();
  /// Tells the peer that no more is written; reading goes on.
  void close_sending();
  /// Ends the connection both ways; the descriptor lives until the stream is destroyed, so that
  /// another thread may be using it.
  void abort();
  /// True if the peer has closed its side or the connection is broken.
  bool has_peer_gone() const;
  /// True if a peer that should be silent has sent or closed.
  bool has_news();

  std::uint64_t bytes_received() const { return bytes_received_; }
  std::uint64_t bytes_sent() const { return bytes_sent_; }
  void add_bytes_sent(std::uint64_t count) { bytes_sent_ += count; }

 private:
  void begin_operation(Deadline deadline);
  ErrorCode end_operation(ErrorCode error);
  ErrorCode end_reading(ErrorCode error);
  void arm();
  void on_timer(ErrorCode error);
  asio::awaitable<ErrorCode> shake_hands(Deadline deadline);
  asio::awaitable<std::pair<ErrorCode, std::size_t>> read_tls(std::span<char> space);
  asio::awaitable<std::pair<ErrorCode, std::size_t>> write_tls(std::string_view bytes);
  asio::awaitable<ErrorCode> wait_for(TlsStep::Wait wait);

  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  Deadline deadline_ = Deadline::max();
  Deadline armed_for_{};
  bool is_armed_ = false;
  bool has_timed_out_ = false;
  bool is_cancelled_ = false;
  ErrorCode read_error_;
  std::unique_ptr<TlsConnection> tls_;
  // Steps taken without waiting since the last one that waited.
  int steps_in_a_row_ = 0;
  std::vector<char> storage_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace mh::net
