// Two false friends for the client's tests: a server that answers from a script, and a relay before
// a real server that cuts connections after so many bytes.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/base/file.h"

namespace mh::net {

/// A listening socket on loopback, port 0.
class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size);
    ::listen(fd_.get(), 16);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  std::uint16_t port() const { return port_; }
  /// Not open once close() was called.
  UniqueFd accept() { return UniqueFd(::accept(fd_.get(), nullptr, nullptr)); }
  void close() { ::shutdown(fd_.get(), SHUT_RDWR); }

 private:
  UniqueFd fd_;
  std::uint16_t port_ = 0;
};

/// What one connection does: for each request read, the next reply; then it is closed.
using Script = std::vector<std::string>;

/// The connections it gets follow the scripts in order; the last one is repeated.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<Script> scripts) : scripts_(std::move(scripts)) {
    thread_ = std::thread([this] { run(); });
  }
  ~ScriptedServer() {
    listener_.close();
    thread_.join();
  }
  std::uint16_t port() const { return listener_.port(); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::size_t connection_count() const { return connection_count_; }

 private:
  void run() {
    while (true) {
      const UniqueFd connection = listener_.accept();
      if (!connection.is_open()) return;
      const std::size_t index = std::min<std::size_t>(connection_count_++, scripts_.size() - 1);
      for (const std::string& reply : scripts_[index]) {
        if (!read_request(connection.get())) break;
        if (::send(connection.get(), reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
      }
    }
  }
  bool read_request(int connection) {
    std::string head;
    char byte = 0;
    while (!head.ends_with("\r\n\r\n")) {
      pollfd state{.fd = connection, .events = POLLIN, .revents = 0};
      if (::poll(&state, 1, 3000) <= 0 || ::recv(connection, &byte, 1, 0) <= 0) return false;
      head += byte;
    }
    // The body, too: closing with unread bytes would reset the connection.
    const std::size_t field = head.find("Content-Length: ");
    std::size_t left =
        field == std::string::npos ? 0 : std::strtoul(head.c_str() + field + 16, nullptr, 10);
    while (left-- > 0 && ::recv(connection, &byte, 1, 0) > 0) {
    }
    const std::lock_guard lock(mutex_);
    requests_.push_back(head);
    return true;
  }

  const std::vector<Script> scripts_;
  Listener listener_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::atomic<std::size_t> connection_count_ = 0;
  std::thread thread_;
};

/// Passes bytes on; the first `cut_count` connections end after so many bytes of either direction.
class CuttingRelay {
 public:
  CuttingRelay(std::uint16_t server_port, std::size_t bytes, int cut_count)
      : server_port_(server_port), bytes_(bytes), cuts_left_(cut_count) {
    thread_ = std::thread([this] { run(); });
  }
  ~CuttingRelay() {
    is_over_ = true;
    listener_.close();
    thread_.join();
  }
  std::uint16_t port() const { return listener_.port(); }
  int connection_count() const { return connection_count_; }

 private:
  void run() {
    while (true) {
      const UniqueFd near = listener_.accept();
      if (!near.is_open()) return;
      ++connection_count_;
      const UniqueFd far(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(server_port_);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      if (::connect(far.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        continue;
      const bool is_cut = cuts_left_-- > 0;
      pass(near.get(), far.get(), is_cut ? bytes_ : SIZE_MAX);
    }
  }
  // Until one side ends, so many bytes have passed one way, or the test is over.
  void pass(int near, int far, std::size_t budget) {
    std::size_t passed[2] = {0, 0};
    const int sides[2] = {near, far};
    char bytes[16384];
    while (!is_over_) {
      pollfd states[2] = {{near, POLLIN, 0}, {far, POLLIN, 0}};
      ::poll(states, 2, 50);
      for (int i = 0; i < 2; ++i) {
        if (states[i].revents == 0) continue;
        const ssize_t count = ::recv(sides[i], bytes, sizeof bytes, 0);
        if (count <= 0) return;
        ::send(sides[1 - i], bytes, static_cast<std::size_t>(count), MSG_NOSIGNAL);
        passed[i] += static_cast<std::size_t>(count);
        if (passed[i] >= budget) return;
      }
    }
  }

  const std::uint16_t server_port_;
  const std::size_t bytes_;
  int cuts_left_;
  Listener listener_;
  std::atomic<int> connection_count_ = 0;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

}  // namespace mh::net
