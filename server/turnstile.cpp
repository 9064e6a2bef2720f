#include "server/turnstile.h"

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "proto/base/check.h"

namespace mh::server {

bool Turnstile::try_enter() {
  if (inside_ >= inside_max_ || !waiting_.empty()) return false;
  ++inside_;
  return true;
}

asio::awaitable<void> Turnstile::enter() {
  auto initiate = [this](auto handler) {
    // Handlers are move-only; std::function wants copies.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    waiting_.push_back([shared] {
      auto resume = std::move(*shared);
      std::move(resume)();
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(initiate,
                                                                        asio::use_awaitable);
}

void Turnstile::leave() {
  MH_CHECK(inside_ > 0);
  --inside_;
  while (inside_ < inside_max_ && !waiting_.empty()) {
    // Counted from now on, so that nobody slips in before it runs.
    ++inside_;
    asio::post(strand_, std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

}  // namespace mh::server
