// See http_stream.h.
#include "proto/net/http_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <tuple>

namespace mh::net {
namespace {

// The head and the message of most calls fit in it; thousands of idle connections keep it.
constexpr std::size_t kBufferBytes = 2 * 1024;
// What one record of TLS carries at most.
constexpr std::size_t kRecordBytes = 16 * 1024;
constexpr int kStepsInARow = 16;
// The kind of record that every handshake of TLS begins with.
constexpr unsigned char kHandshakeRecord = 0x16;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

short poll_now(int descriptor, short events) {
  pollfd state{.fd = descriptor, .events = events, .revents = 0};
  return ::poll(&state, 1, 0) > 0 ? state.revents : short{0};
}

}  // namespace

HttpStream::HttpStream(asio::ip::tcp::socket socket)
    : socket_(std::move(socket)), timer_(socket_.get_executor()) {}

void HttpStream::begin_operation(Deadline deadline) {
  deadline_ = deadline;
  has_timed_out_ = is_cancelled_ = false;
  if (!is_armed_ || armed_for_ > deadline) arm();
}

HttpStream::ErrorCode HttpStream::end_operation(ErrorCode error) {
  deadline_ = Deadline::max();
  if (error == asio::error::operation_aborted && has_timed_out_) return asio::error::timed_out;
  return error;
}

HttpStream::ErrorCode HttpStream::end_reading(ErrorCode error) {
  error = end_operation(error);
  // Asio waits for ever for news of a socket whose end it has told of once.
  if (error && error != asio::error::timed_out && error != asio::error::operation_aborted)
    read_error_ = error;
  return error;
}

void HttpStream::arm() {
  is_armed_ = true;
  armed_for_ = deadline_;
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](ErrorCode error) {
    if (const auto self = weak.lock()) self->on_timer(error);
  });
}

void HttpStream::on_timer(ErrorCode error) {
  if (error) return;
  is_armed_ = false;
  if (deadline_ == Deadline::max()) return;
  if (Clock::now() < deadline_) return arm();
  has_timed_out_ = true;
  cancel();
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::connect(asio::ip::tcp::endpoint endpoint,
                                                           Deadline deadline) {
  begin_operation(deadline);
  auto [error] = co_await socket_.async_connect(endpoint, kToken);
  error = end_operation(error);
  if (!error) socket_.set_option(asio::ip::tcp::no_delay(true), error);
  co_return error;
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::fill(std::size_t bytes_max, Deadline deadline) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == storage_.size()) {
    if (begin_ > 0) {
      std::copy(storage_.begin() + static_cast<std::ptrdiff_t>(begin_), storage_.end(),
                storage_.begin());
      end_ -= begin_;
      begin_ = 0;
    } else if (storage_.size() >= bytes_max) {
      co_return asio::error::no_buffer_space;
    } else {
      storage_.resize(std::min(std::max(kBufferBytes, storage_.size() * 2), bytes_max));
    }
  }
  if (read_error_) co_return read_error_;
  begin_operation(deadline);
  const auto space = std::span(storage_).subspan(end_);
  ErrorCode error;
  std::size_t count = 0;
  if (tls_) {
    std::tie(error, count) = co_await read_tls(space);
  } else {
    const auto buffer = asio::buffer(space.data(), space.size());
    std::tie(error, count) = co_await socket_.async_read_some(buffer, kToken);
  }
  end_ += count;
  bytes_received_ += count;
  co_return end_reading(error);
}

asio::awaitable<std::pair<HttpStream::ErrorCode, std::size_t>> HttpStream::read(
    std::span<char> bytes, Deadline deadline) {
  const std::size_t ready = std::min(bytes.size(), end_ - begin_);
  std::copy_n(storage_.data() + begin_, ready, bytes.data());
  consume(ready);
  if (ready == bytes.size() || read_error_)
    co_return std::pair(ready == bytes.size() ? ErrorCode() : read_error_, ready);
  begin_operation(deadline);
  const auto space = bytes.subspan(ready);
  ErrorCode error;
  std::size_t count = 0;
  if (!tls_) {
    const auto buffer = asio::buffer(space.data(), space.size());
    std::tie(error, count) = co_await asio::async_read(socket_, buffer, kToken);
  }
  while (tls_ && !error && count < space.size()) {
    const auto outcome = co_await read_tls(space.subspan(count));
    error = outcome.first;
    count += outcome.second;
  }
  bytes_received_ += count;
  const ErrorCode outcome = end_reading(error);
  co_return std::pair(outcome, ready + count);
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::write(std::string_view first,
                                                         std::string_view second,
                                                         Deadline deadline) {
  begin_operation(deadline);
  ErrorCode error;
  std::size_t count = 0;
  if (!tls_) {
    const std::array<asio::const_buffer, 2> both = {asio::buffer(first.data(), first.size()),
                                                    asio::buffer(second.data(), second.size())};
    std::tie(error, count) = co_await asio::async_write(socket_, both, kToken);
    bytes_sent_ += count;
    co_return end_operation(error);
  }
  // One record and one packet for what is short.
  std::string joined;
  if (!first.empty() && first.size() + second.size() <= kRecordBytes) {
    joined.append(first).append(second);
    first = joined;
    second = {};
  }
  std::tie(error, count) = co_await write_tls(first);
  bytes_sent_ += count;
  if (!error) {
    std::tie(error, count) = co_await write_tls(second);
    bytes_sent_ += count;
  }
  co_return end_operation(error);
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::accept_tls(std::shared_ptr<TlsContext> context,
                                                              Deadline deadline) {
  tls_ = std::make_unique<TlsConnection>(std::move(context), socket_.native_handle());
  co_return co_await shake_hands(deadline);
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::expect_tls(Deadline deadline) {
  begin_operation(deadline);
  auto [error] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_read, kToken);
  unsigned char first = 0;
  const bool is_other = !error &&
                        ::recv(socket_.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 &&
                        first != kHandshakeRecord;
  error = end_operation(error);
  co_return is_other ? ErrorCode(asio::error::no_protocol_option) : error;
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::connect_tls(std::shared_ptr<TlsContext> context,
                                                               std::string host,
                                                               Deadline deadline) {
  tls_ = std::make_unique<TlsConnection>(std::move(context), socket_.native_handle(), host);
  co_return co_await shake_hands(deadline);
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::shake_hands(Deadline deadline) {
  begin_operation(deadline);
  while (true) {
    const TlsStep step = tls_->handshake();
    if (step.wait == TlsStep::Wait::kNothing) co_return end_operation(step.error);
    const ErrorCode error = co_await wait_for(step.wait);
    if (error) co_return end_operation(error);
  }
}

asio::awaitable<std::pair<HttpStream::ErrorCode, std::size_t>> HttpStream::read_tls(
    std::span<char> space) {
  while (true) {
    const TlsStep step = tls_->read(space);
    const bool is_done = step.wait == TlsStep::Wait::kNothing;
    const ErrorCode error = co_await wait_for(step.wait);
    if (is_done) co_return std::pair(step.error, step.bytes);
    if (error) co_return std::pair(error, std::size_t{0});
  }
}

asio::awaitable<std::pair<HttpStream::ErrorCode, std::size_t>> HttpStream::write_tls(
    std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const TlsStep step = tls_->write(bytes.substr(done));
    done += step.bytes;
    if (step.error) co_return std::pair(step.error, done);
    const ErrorCode error = co_await wait_for(step.wait);
    if (error) co_return std::pair(error, done);
  }
  co_return std::pair(ErrorCode(), done);
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::wait_for(TlsStep::Wait wait) {
  if (wait == TlsStep::Wait::kNothing) {
    // A peer that is faster than we are must not keep the others of this thread waiting.
    if (++steps_in_a_row_ < kStepsInARow) co_return ErrorCode();
    steps_in_a_row_ = 0;
    co_await asio::post(socket_.get_executor(), asio::use_awaitable);
    co_return ErrorCode();
  }
  steps_in_a_row_ = 0;
  // The timer may have fired, or cancel() been called, while there was nothing to cancel.
  if (is_cancelled_) co_return asio::error::operation_aborted;
  const auto event = wait == TlsStep::Wait::kReadable ? asio::ip::tcp::socket::wait_read
                                                      : asio::ip::tcp::socket::wait_write;
  const auto [error] = co_await socket_.async_wait(event, kToken);
  co_return error;
}

asio::awaitable<HttpStream::ErrorCode> HttpStream::wait_writable(Deadline deadline) {
  begin_operation(deadline);
  const auto [error] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_write, kToken);
  co_return end_operation(error);
}

void HttpStream::shrink() {
  if (begin_ != end_ || storage_.size() <= kBufferBytes) return;
  begin_ = end_ = 0;
  std::vector<char>().swap(storage_);
}

void HttpStream::drop_empty_buffer() {
  if (begin_ != end_) return;
  begin_ = end_ = 0;
  std::vector<char>().swap(storage_);
}

void HttpStream::cancel() {
  is_cancelled_ = true;
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void HttpStream::close_sending() {
  if (tls_) tls_->close_sending();
  ErrorCode ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

void HttpStream::abort() {
  is_cancelled_ = true;
  ErrorCode ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.cancel(ignored);
}

bool HttpStream::has_peer_gone() const {
  const int descriptor = const_cast<asio::ip::tcp::socket&>(socket_).native_handle();
  return (poll_now(descriptor, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool HttpStream::has_news() {
  if (tls_) return tls_->has_news();
  return poll_now(socket_.native_handle(), POLLIN | POLLRDHUP) != 0;
}

}  // namespace mh::net
