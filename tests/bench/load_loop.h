// HTTP/1.1 connections of a load generator on one thread and one epoll: a request goes out on a
// connection, its reply comes in, one at a time. Made to cost less than the server that it loads:
// no coroutines, no parsing of header fields but Content-Length and Retry-After, buffers are kept.
// Not a client for real use: it trusts the server.
// Threads: one.
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/net/http_tls.h"

namespace mh::bench {

using LoadClock = std::chrono::steady_clock;

struct Reply {
  // 0: the connection could not be made or broke; `body` is then empty.
  int status = 0;
  std::chrono::seconds retry_after{0};
  // Valid until the next call of the loop.
  std::string_view body;
};

class LoadLoop {
 public:
  // Who is told. Called from run(); may call send(), close() and call_at().
  struct Handlers {
    std::function<void(std::size_t connection, const Reply& reply)> on_reply;
    std::function<void(std::size_t connection)> on_time;
  };

  // `server` is HOST:PORT with an IPv4 address, or https://HOST:PORT/#@FINGERPRINT.
  // Errors: kInvalidArgument, kInternal.
  static Result<LoadLoop> make(const std::string& server);

  void set_handlers(Handlers handlers) { handlers_ = std::move(handlers); }
  // A connection, not connected yet. `source` is the last byte of its own address 127.0.0.x, so
  // that limits per address can be met or avoided.
  std::size_t add(std::uint8_t source = 1);
  std::size_t size() const { return connections_.size(); }
  // Sends a whole request; connects first if need be. Requires: no reply is outstanding.
  void send(std::size_t connection, std::string_view request);
  void close(std::size_t connection);
  bool is_open(std::size_t connection) const { return connections_[connection].file.is_open(); }
  // Has `connection` told at that time.
  void call_at(LoadClock::time_point time, std::size_t connection);

  // Handles what comes until `until` or until stop() is called.
  void run(LoadClock::time_point until);
  void stop() { is_stopped_ = true; }

  const std::string& server() const { return server_; }

 private:
  struct Connection {
    UniqueFd file;
    // Null: plain HTTP. Destroyed before its descriptor.
    std::unique_ptr<net::TlsConnection> tls;
    bool is_shaken = false;
    std::uint8_t source = 1;
    bool is_connected = false;
    bool waits_for_reply = false;
    std::string out;
    std::size_t sent = 0;
    std::string in;
  };
  using Alarm = std::pair<LoadClock::time_point, std::size_t>;

  LoadLoop(std::string server, sockaddr_in address, UniqueFd epoll,
           std::shared_ptr<net::TlsContext> tls)
      : server_(std::move(server)),
        address_(address),
        epoll_(std::move(epoll)),
        tls_(std::move(tls)) {}
  bool open(std::size_t index);
  void flush(std::size_t index);
  // Bytes moved; 0: wait, -1: the connection is over. Shakes hands first.
  ssize_t send_some(Connection& connection);
  ssize_t receive_some(Connection& connection);
  // 1: done.
  ssize_t shake_hands(Connection& connection);
  void drop(Connection& connection);
  void on_readable(std::size_t index);
  void take_reply(std::size_t index);
  void fail(std::size_t index);
  int wait_ms(LoadClock::time_point until) const;
  void ring_alarms();
  void tell_failures();

  std::string server_;
  sockaddr_in address_;
  UniqueFd epoll_;
  std::shared_ptr<net::TlsContext> tls_;
  Handlers handlers_;
  std::deque<Connection> connections_;
  std::priority_queue<Alarm, std::vector<Alarm>, std::greater<>> alarms_;
  std::vector<std::size_t> failed_;
  std::string scratch_;
  bool is_stopped_ = false;
};

}  // namespace mh::bench
