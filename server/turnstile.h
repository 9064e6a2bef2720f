// Lets a bounded number of calls be worked on at a time. The others wait in order, and have cost no
// more than their reading. *Rationale:* when thousands of hosts come back at once, all their work
// would stand in the io thread's queue, and a call that asks how the server is would wait behind
// it. A call that is held (ParkedCalls) is not being worked on. Threads: owned by the strand it was
// made with.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <utility>

namespace mh::server {

namespace asio = boost::asio;

class Turnstile {
 public:
  Turnstile(asio::any_io_executor strand, std::size_t inside_max)
      : strand_(std::move(strand)), inside_max_(inside_max) {}

  // A call's stay; it leaves at the end of its frame.
  class Pass {
   public:
    // Requires: the call has entered.
    explicit Pass(Turnstile& turnstile) : turnstile_(turnstile) {}
    ~Pass() { turnstile_.leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Turnstile& turnstile_;
  };

  // Enters if there is room and nobody waits.
  bool try_enter();
  // Waits for its turn and enters.
  asio::awaitable<void> enter();
  // A call inside steps aside (it is held), or back, without waiting: it was let in before.
  void step_aside() { leave(); }
  void step_back() { ++inside_; }

  std::size_t inside() const { return inside_; }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  void leave();

  const asio::any_io_executor strand_;
  const std::size_t inside_max_;
  std::size_t inside_ = 0;
  std::deque<std::function<void()>> waiting_;
};

}  // namespace mh::server
