#include "tests/bench/load_loop.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "proto/base/check.h"
#include "proto/base/options.h"
#include "proto/net/server_link.h"

namespace mh::bench {
namespace {

constexpr std::size_t kScratchBytes = 64 * 1024;
constexpr int kEventsAtOnce = 256;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

// The number behind "\r\nName: " in a head, or `otherwise`.
std::size_t number_in(std::string_view head, std::string_view name, std::size_t otherwise) {
  const std::size_t at = head.find(name);
  if (at == std::string_view::npos) return otherwise;
  const std::string_view text = head.substr(at + name.size());
  std::size_t number = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Result<LoadLoop> LoadLoop::make(const std::string& server) {
  std::string place = server;
  std::shared_ptr<net::TlsContext> tls;
  if (server.starts_with("https://")) {
    MH_TRY(const net::ServerLink link, net::parse_server_link(server));
    MH_TRY(tls, net::TlsContext::for_client("", link.fingerprint));
    place = link.server.authority();
  }
  MH_TRY(const HostPort target, parse_host_port(place));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(target.port);
  if (::inet_pton(AF_INET, target.host.c_str(), &address.sin_addr) != 1)
    return mh::fail(Errc::kInvalidArgument, "'" + target.host + "' is no IPv4 address");
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return mh::fail(Errc::kInternal, "no epoll to be had");
  return LoadLoop(place, address, std::move(epoll), std::move(tls));
}

std::size_t LoadLoop::add(std::uint8_t source) {
  connections_.emplace_back().source = source;
  return connections_.size() - 1;
}

bool LoadLoop::open(std::size_t index) {
  Connection& connection = connections_[index];
  drop(connection);
  connection.file = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  connection.is_connected = false;
  connection.in.clear();
  const int file = connection.file.get();
  if (file < 0) return false;
  const int yes = 1;
  ::setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connection.source != 1) {
    // The port is chosen at connect(), so that one address serves as many as another.
    ::setsockopt(file, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(0x7F000000U | connection.source);
    if (::bind(file, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) return false;
  }
  const int outcome =
      ::connect(file, reinterpret_cast<const sockaddr*>(&address_), sizeof address_);
  if (outcome != 0 && errno != EINPROGRESS) return false;
  if (tls_) connection.tls = std::make_unique<net::TlsConnection>(tls_, file, "load.example");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.u64 = index;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, file, &event) == 0;
}

void LoadLoop::send(std::size_t index, std::string_view request) {
  Connection& connection = connections_[index];
  MH_CHECK(!connection.waits_for_reply);
  connection.waits_for_reply = true;
  connection.out.assign(request);
  connection.sent = 0;
  if (!connection.file.is_open() && !open(index)) return failed_.push_back(index);
  if (connection.is_connected) flush(index);
}

void LoadLoop::close(std::size_t index) {
  drop(connections_[index]);
  connections_[index].waits_for_reply = false;
}

void LoadLoop::call_at(LoadClock::time_point time, std::size_t connection) {
  alarms_.emplace(time, connection);
}

void LoadLoop::flush(std::size_t index) {
  Connection& connection = connections_[index];
  while (connection.sent < connection.out.size()) {
    const ssize_t count = send_some(connection);
    if (count == 0) return;
    if (count < 0) return failed_.push_back(index);
    connection.sent += static_cast<std::size_t>(count);
  }
}

ssize_t LoadLoop::shake_hands(Connection& connection) {
  if (connection.is_shaken) return 1;
  const net::TlsStep step = connection.tls->handshake();
  if (step.error) return -1;
  connection.is_shaken = step.wait == net::TlsStep::Wait::kNothing;
  return connection.is_shaken ? 1 : 0;
}

ssize_t LoadLoop::send_some(Connection& connection) {
  const std::string_view rest = std::string_view(connection.out).substr(connection.sent);
  if (connection.tls) {
    if (const ssize_t shaken = shake_hands(connection); shaken <= 0) return shaken;
    const net::TlsStep step = connection.tls->write(rest);
    return step.error ? -1 : static_cast<ssize_t>(step.bytes);
  }
  const ssize_t count = ::send(connection.file.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  return count < 0 && errno == EAGAIN ? 0 : count;
}

ssize_t LoadLoop::receive_some(Connection& connection) {
  if (connection.tls) {
    const net::TlsStep step = connection.tls->read(scratch_);
    return step.error ? -1 : static_cast<ssize_t>(step.bytes);
  }
  const ssize_t count =
      ::recv(connection.file.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
  if (count == 0) return -1;
  return count < 0 && errno == EAGAIN ? 0 : count;
}

void LoadLoop::drop(Connection& connection) {
  connection.tls.reset();
  connection.is_shaken = false;
  connection.file.reset();
}

void LoadLoop::on_readable(std::size_t index) {
  Connection& connection = connections_[index];
  scratch_.resize(kScratchBytes);
  if (connection.tls && !connection.is_shaken) {
    flush(index);
    if (!connection.is_shaken) return;
  }
  while (connection.file.is_open()) {
    const ssize_t count = receive_some(connection);
    if (count == 0) return;
    if (count < 0) return fail(index);
    connection.in.append(scratch_.data(), static_cast<std::size_t>(count));
    take_reply(index);
    // What is shorter than the buffer was all there is; with TLS there may be another record.
    if (!tls_ && static_cast<std::size_t>(count) < scratch_.size()) return;
  }
}

void LoadLoop::take_reply(std::size_t index) {
  Connection& connection = connections_[index];
  const std::string_view bytes = connection.in;
  const std::size_t end = bytes.find(kHeadEnd);
  if (end == std::string_view::npos) return;
  const std::string_view head = bytes.substr(0, end);
  const std::size_t length = number_in(head, "\r\nContent-Length: ", 0);
  const std::size_t begin = end + kHeadEnd.size();
  if (bytes.size() < begin + length || !connection.waits_for_reply) return;
  Reply reply;
  reply.status = static_cast<int>(number_in(head, "HTTP/1.1 ", 0));
  reply.retry_after = std::chrono::seconds(number_in(head, "\r\nRetry-After: ", 0));
  const std::string body(bytes.substr(begin, length));
  reply.body = body;
  connection.in.clear();
  connection.waits_for_reply = false;
  if (head.find("\r\nConnection: close") != std::string_view::npos) drop(connection);
  handlers_.on_reply(index, reply);
}

void LoadLoop::fail(std::size_t index) {
  Connection& connection = connections_[index];
  drop(connection);
  if (!std::exchange(connection.waits_for_reply, false)) return;
  handlers_.on_reply(index, Reply{});
}

int LoadLoop::wait_ms(LoadClock::time_point until) const {
  if (!failed_.empty()) return 0;
  auto next = until;
  if (!alarms_.empty()) next = std::min(next, alarms_.top().first);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - LoadClock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1000));
}

void LoadLoop::ring_alarms() {
  const auto now = LoadClock::now();
  while (!alarms_.empty() && alarms_.top().first <= now) {
    const std::size_t connection = alarms_.top().second;
    alarms_.pop();
    handlers_.on_time(connection);
  }
}

void LoadLoop::tell_failures() {
  for (const std::size_t index : std::exchange(failed_, {})) fail(index);
}

void LoadLoop::run(LoadClock::time_point until) {
  is_stopped_ = false;
  std::array<epoll_event, kEventsAtOnce> events{};
  while (!is_stopped_ && LoadClock::now() < until) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, wait_ms(until));
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      const auto index = static_cast<std::size_t>(event.data.u64);
      Connection& connection = connections_[index];
      if (!connection.file.is_open()) continue;
      if ((event.events & EPOLLOUT) != 0) {
        const bool is_first = !std::exchange(connection.is_connected, true);
        const bool is_broken = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
        if (!is_broken && (is_first || connection.sent < connection.out.size())) flush(index);
      }
      if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) on_readable(index);
    }
    tell_failures();
    ring_alarms();
  }
}

}  // namespace mh::bench
