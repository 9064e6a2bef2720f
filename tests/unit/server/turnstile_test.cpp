// How many calls are worked on at a time, and in which order the others come.
#include "server/turnstile.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string>

#include "server/parked_calls.h"

namespace mh::server {
namespace {

class TurnstileTest : public testing::Test {
 protected:
  asio::awaitable<void> stay(std::string name, std::shared_ptr<asio::steady_timer> end) {
    if (!turnstile.try_enter()) co_await turnstile.enter();
    const Turnstile::Pass pass(turnstile);
    log += name;
    boost::system::error_code ignored;
    co_await end->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  // A call that stays inside until its timer is cancelled.
  std::shared_ptr<asio::steady_timer> come(const std::string& name) {
    auto end = std::make_shared<asio::steady_timer>(io, std::chrono::hours(1));
    asio::co_spawn(io, stay(name, end), asio::detached);
    run();
    return end;
  }
  void run() {
    io.restart();
    io.poll();
  }

  asio::io_context io{1};
  Turnstile turnstile{io.get_executor(), 2};
  std::string log;
};

TEST_F(TurnstileTest, LetsSoManyInAndTheOthersInOrder) {
  const auto a = come("a"), b = come("b"), c = come("c"), d = come("d");
  EXPECT_EQ(log, "ab");
  EXPECT_EQ(turnstile.waiting(), 2U);
  b->cancel();
  run();
  EXPECT_EQ(log, "abc");
  // Whoever comes now does not overtake.
  const auto e = come("e");
  a->cancel();
  c->cancel();
  run();
  EXPECT_EQ(log, "abcde");
  d->cancel();
  e->cancel();
  run();
  EXPECT_EQ(turnstile.inside(), 0U);
}

TEST_F(TurnstileTest, AHeldCallMakesRoomAndComesBackWithoutWaiting) {
  ParkedCalls parked(io.get_executor(), {}, &turnstile);
  const auto a = come("a"), b = come("b"), c = come("c");
  auto ended = std::make_shared<net::CallSignal>();
  auto place = std::make_unique<ParkedCalls::Place>(parked, 0, 1, ended, std::chrono::hours(1));
  run();
  EXPECT_EQ(log, "abc");
  EXPECT_EQ(turnstile.inside(), 2U);
  place.reset();
  EXPECT_EQ(turnstile.inside(), 3U);
  for (const auto& end : {a, b, c}) end->cancel();
  run();
  EXPECT_EQ(turnstile.inside(), 0U);
}

}  // namespace
}  // namespace mh::server
