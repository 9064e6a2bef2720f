// Waiting in a bounded list until woken: what long polls do. Includes Asio, so only the shell's
// .cpp files include it. The way to another thread and back is net::run_on in proto/net/async.h.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <utility>

namespace mh::server {

namespace asio = boost::asio;

// Calls parked until something happens: long polls. First parked, first woken.
// Threads: owned by the strand whose executor it was made with; wait() must run on it.
class Wakeups {
 public:
  Wakeups(asio::any_io_executor strand, std::size_t parked_max)
      : strand_(std::move(strand)), parked_max_(parked_max) {}

  // Parks the calling coroutine until it is woken or `wait` has passed. Returns at once when too
  // many are parked. Throws what a cancelled wait throws when the caller has gone.
  asio::awaitable<void> wait(std::uint64_t key, std::chrono::milliseconds wait);
  // Wakes up to `count` of those parked with `key`.
  void wake(std::uint64_t key, std::size_t count = SIZE_MAX);
  // Wakes all, now and from now on: the server stops.
  void stop();
  std::size_t parked_count() const { return parked_.size(); }
  bool is_stopped() const { return is_stopped_; }

 private:
  struct Parked;
  const asio::any_io_executor strand_;
  const std::size_t parked_max_;
  std::list<Parked*> parked_;
  bool is_stopped_ = false;
};

}  // namespace mh::server
