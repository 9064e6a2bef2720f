// Calls that wait: who is woken, in which order, and when a wait ends by itself.
#include "server/parked_calls.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <string>

namespace mh::server {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLong{60'000};

class ParkedCallsTest : public testing::Test {
 protected:
  // A call that waits until it is over or `wakes` times woken, noting each.
  asio::awaitable<void> wait(std::string name, std::uint64_t key, std::uint64_t owner,
                             std::shared_ptr<net::CallSignal> ended, milliseconds most,
                             bool leaves_work) {
    ParkedCalls::Place place(parked, key, owner, std::move(ended), most);
    while (!place.is_over()) {
      co_await place.wait(kLong);
      log += place.is_over() ? " " + name + "-over" : " " + name;
      if (leaves_work) place.pass_on(false);
    }
    log += " " + name + "-left";
  }

  void park(const std::string& name, std::uint64_t key, bool leaves_work = false,
            milliseconds most = kLong, std::uint64_t owner = 1) {
    park(name, key, std::make_shared<net::CallSignal>(), leaves_work, most, owner);
  }
  void park(const std::string& name, std::uint64_t key, std::shared_ptr<net::CallSignal> ended,
            bool leaves_work = false, milliseconds most = kLong, std::uint64_t owner = 1) {
    asio::co_spawn(io, wait(name, key, owner, std::move(ended), most, leaves_work), asio::detached);
    run();
  }
  std::string run() {
    io.restart();
    io.poll();
    return std::exchange(log, {});
  }

  asio::io_context io{1};
  ParkedCalls parked{io.get_executor(), ParkingLimits{4, 2, 3}};
  std::string log;

  void TearDown() override {
    parked.stop();
    run();
  }
};

TEST_F(ParkedCallsTest, WakesTheFirstAndNobodyElseWhenNothingIsLeft) {
  park("a", 0, false, kLong, 1);
  park("b", 0, false, kLong, 2);
  parked.wake_first(0);
  EXPECT_EQ(run(), " a");
  parked.wake_first(0);
  EXPECT_EQ(run(), " a") << "it keeps its place";
}

TEST_F(ParkedCallsTest, PassesOnToEachOnce) {
  park("a", 0, true, kLong, 1);
  park("b", 0, true, kLong, 2);
  park("c", 0, true, kLong, 3);
  parked.wake_first(0);
  EXPECT_EQ(run(), " a b c");
}

TEST_F(ParkedCallsTest, GivesUpAfterSomeThatFoundNothingAndGoesOnThereNextTime) {
  for (int i = 0; i < 4; ++i) park(std::string(1, static_cast<char>('a' + i)), 0, true, kLong, i);
  parked.wake_first(0);
  EXPECT_EQ(run(), " a b c");
  parked.wake_first(0);
  EXPECT_EQ(run(), " d a b");
}

TEST_F(ParkedCallsTest, WakesByKey) {
  park("a", 7, false, kLong, 1);
  park("b", 8, false, kLong, 2);
  parked.wake_all(8);
  EXPECT_EQ(run(), " b");
}

TEST_F(ParkedCallsTest, EndsWhenTheCallerHasGone) {
  auto ended = std::make_shared<net::CallSignal>();
  park("a", 0, ended);
  ended->set();
  EXPECT_EQ(run(), " a-over a-left");
  EXPECT_EQ(parked.count(), 0u);
}

TEST_F(ParkedCallsTest, EndsWhenItsTimeIsUp) {
  park("a", 0, false, milliseconds(5));
  io.restart();
  io.run_for(std::chrono::seconds(5));
  EXPECT_EQ(log, " a-over a-left");
}

TEST_F(ParkedCallsTest, BoundsTheParkedOfOneOwnerAndOfAll) {
  park("a", 0, false, kLong, 1);
  park("b", 0, false, kLong, 1);
  park("third of one owner", 0, false, kLong, 1);
  EXPECT_EQ(parked.count(), 2u);
  park("c", 0, false, kLong, 2);
  park("d", 0, false, kLong, 3);
  park("fifth", 0, false, kLong, 4);
  EXPECT_EQ(parked.count(), 4u);
}

TEST_F(ParkedCallsTest, LetsNobodyWaitOnceStopped) {
  park("a", 0, false, kLong, 1);
  parked.stop();
  EXPECT_EQ(run(), " a-over a-left");
  park("b", 0, false, kLong, 2);
  EXPECT_EQ(parked.count(), 0u);
}

}  // namespace
}  // namespace mh::server
