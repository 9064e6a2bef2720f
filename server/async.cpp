// See async.h.
#include "server/async.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mh::server {

// Lives in the waiting coroutine's frame and takes itself off the list, however the wait ends.
struct Wakeups::Parked {
  Parked(Wakeups& owner, std::uint64_t parked_key, std::chrono::milliseconds wait)
      : list(owner.parked_), key(parked_key), timer(owner.strand_, wait) {
    place = list.insert(list.end(), this);
  }
  ~Parked() { list.erase(place); }
  Parked(const Parked&) = delete;
  Parked& operator=(const Parked&) = delete;

  std::list<Parked*>& list;
  const std::uint64_t key;
  bool is_woken = false;
  asio::steady_timer timer;
  std::list<Parked*>::iterator place;
};

asio::awaitable<void> Wakeups::wait(std::uint64_t key, std::chrono::milliseconds wait) {
  if (is_stopped_ || parked_.size() >= parked_max_ || wait.count() <= 0) co_return;
  Parked parked(*this, key, wait);
  co_await parked.timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Wakeups::wake(std::uint64_t key, std::size_t count) {
  for (Parked* parked : parked_) {
    if (count == 0) return;
    if (parked->is_woken || parked->key != key) continue;
    parked->is_woken = true;
    parked->timer.cancel();
    count -= 1;
  }
}

void Wakeups::stop() {
  is_stopped_ = true;
  for (Parked* parked : parked_) {
    parked->is_woken = true;
    parked->timer.cancel();
  }
}

}  // namespace mh::server
