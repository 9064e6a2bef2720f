// How often and after which waits a transfer goes on. Only for proto/net/http_*.cpp.
// Threads: one coroutine.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "proto/base/sha256.h"
#include "proto/net/async.h"
#include "proto/net/backoff.h"
#include "proto/net/http_client.h"

namespace mh::net {

/// Worth another try: the way was cut or the server is busy, nothing is wrong with the request.
inline bool is_transient(const Error& error) {
  return error.code == Errc::kUnavailable || error.code == Errc::kDeadlineExceeded;
}

/// Counts tries without progress and waits between them.
class Patience {
 public:
  Patience(std::uint32_t count_max, std::uint64_t seed)
      : count_max_(count_max),
        backoff_(seed, {std::chrono::milliseconds(100), std::chrono::seconds(5)}) {}
  bool has_more() const { return backoff_.failure_count() < count_max_; }
  void reset() { backoff_.reset(); }
  asio::awaitable<void> wait() {
    const auto pause = backoff_.next();
    co_await sleep_for(pause);
  }

 private:
  const std::uint32_t count_max_;
  Backoff backoff_;
};

/// Waits that differ from client to client.
inline Patience patience_for(const HttpClientOptions& options, const Digest& digest) {
  const auto now =
      static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return Patience(options.resume_count_max, now ^ std::hash<Digest>()(digest));
}

}  // namespace mh::net
