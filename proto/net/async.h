// The ways across executors: run a function on a pool and come back, and wait a while. Includes
// Asio, so only .cpp files that do I/O include it.
// g++ 12.2 destroys twice what a capturing lambda or braced temporary makes inside a statement with
// co_await: name it first, then move it in.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

namespace mh::net {

namespace asio = boost::asio;

/// Runs `function()` on `executor` (usually a pool) and resumes the caller on its own executor with
/// what it returned. The function must not throw and must own what it uses.
template <typename Function>
asio::awaitable<std::invoke_result_t<Function&>> run_on(asio::any_io_executor executor,
                                                        Function function) {
  using Answer = std::invoke_result_t<Function&>;
  static_assert(!std::is_void_v<Answer>, "return something, so that failures are not lost");
  auto initiate = [](auto handler, asio::any_io_executor where, Function work) {
    // Handlers are move-only; the shared pointer makes the posted function copyable.
    auto shared_handler = std::make_shared<decltype(handler)>(std::move(handler));
    auto run = [shared_handler, work = std::move(work)]() mutable {
      auto answer = std::make_shared<Answer>(work());
      auto home = asio::get_associated_executor(*shared_handler);
      asio::post(home, [shared_handler, answer]() mutable {
        auto resume = std::move(*shared_handler);
        std::move(resume)(std::move(*answer));
      });
    };
    asio::post(where, std::move(run));
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Answer)>(
      initiate, asio::use_awaitable, std::move(executor), std::move(function));
}

/// Waits; returns early, without an exception, if the coroutine is cancelled.
inline asio::awaitable<void> sleep_for(std::chrono::milliseconds duration) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, duration);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace mh::net
