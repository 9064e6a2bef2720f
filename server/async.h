// The only ways across threads in the server: run a function on a pool and come back, and wait in
// a bounded list until woken. Includes Asio, so only the shell's .cpp files include it.
// g++ 12 trap (docs/decisions): never write a lambda with captures, or a braced value, inside a
// statement that has co_await; name it first and move it in.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <list>
#include <type_traits>
#include <utility>

namespace mh::server {

namespace asio = boost::asio;

// Runs `function()` on `executor` (usually the pool) and resumes the caller, on its own executor,
// with what it returned. The function must not throw and must own what it uses.
template <typename Executor, typename Function>
asio::awaitable<std::invoke_result_t<Function&>> run_on(Executor executor, Function function) {
  using Answer = std::invoke_result_t<Function&>;
  static_assert(!std::is_void_v<Answer>, "return something, so that failures are not lost");
  auto initiate = [](auto handler, Executor where, Function work) {
    auto run = [handler = std::move(handler), work = std::move(work)]() mutable {
      Answer answer = work();
      auto home = asio::get_associated_executor(handler);
      asio::post(home, [handler = std::move(handler), answer = std::move(answer)]() mutable {
        std::move(handler)(std::move(answer));
      });
    };
    asio::post(where, std::move(run));
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Answer)>(
      initiate, asio::use_awaitable, std::move(executor), std::move(function));
}

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
