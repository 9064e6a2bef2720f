// See parked_calls.h.
#include "server/parked_calls.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mh::server {

// Outlives its Place when the caller's end is told at the same moment.
struct ParkedCalls::Place::Wait {
  explicit Wait(const asio::any_io_executor& strand) : timer(strand) {}
  asio::steady_timer timer;
  bool is_woken = false;

  void wake() {
    is_woken = true;
    timer.cancel();
  }
};

ParkedCalls::Place::Place(ParkedCalls& calls, std::uint64_t key, std::uint64_t owner,
                          std::shared_ptr<net::CallSignal> ended, std::chrono::milliseconds most)
    : calls_(calls),
      key_(key),
      owner_(owner),
      until_(std::chrono::steady_clock::now() + most),
      ended_(std::move(ended)),
      wait_(std::make_shared<Wait>(calls.strand_)),
      wave_(calls.wave_now_) {
  std::size_t& of_owner = calls_.count_of_owner_[owner_];
  is_parked_ = !calls_.is_stopped_ && calls_.count_ < calls_.limits_.parked_max &&
               of_owner < calls_.limits_.parked_per_owner_max;
  if (!is_parked_) {
    if (of_owner == 0) calls_.count_of_owner_.erase(owner_);
    return;
  }
  ++of_owner;
  ++calls_.count_;
  if (calls_.turnstile_ != nullptr) calls_.turnstile_->step_aside();
  std::list<Place*>& queue = calls_.parked_[key_];
  position_ = queue.insert(queue.end(), this);
  subscription_ = ended_->subscribe(
      [wait = wait_, strand = calls_.strand_] { asio::post(strand, [wait] { wait->wake(); }); });
}

ParkedCalls::Place::~Place() {
  if (!is_parked_) return;
  ended_->unsubscribe(subscription_);
  std::list<Place*>& queue = calls_.parked_[key_];
  queue.erase(position_);
  if (queue.empty()) calls_.parked_.erase(key_);
  --calls_.count_;
  if (calls_.turnstile_ != nullptr) calls_.turnstile_->step_back();
  if (--calls_.count_of_owner_[owner_] == 0) calls_.count_of_owner_.erase(owner_);
}

asio::awaitable<void> ParkedCalls::Place::wait(std::chrono::milliseconds most) {
  if (is_over()) co_return;
  if (!wait_->is_woken) {
    const auto now = std::chrono::steady_clock::now();
    wait_->timer.expires_at(std::min(until_, now + most));
    co_await wait_->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  wait_->is_woken = false;
  wave_ = calls_.wave_now_;
}

bool ParkedCalls::Place::is_over() const {
  return !is_parked_ || calls_.is_stopped_ || ended_->is_set() ||
         std::chrono::steady_clock::now() >= until_;
}

void ParkedCalls::Place::pass_on(bool found) {
  if (!found && is_parked_) {
    std::list<Place*>& queue = calls_.parked_[key_];
    queue.splice(queue.end(), queue, position_);
    if (++calls_.fruitless_ >= calls_.limits_.fruitless_max) return;
  }
  calls_.wake_next(key_);
}

void ParkedCalls::wake_first(std::uint64_t key) {
  ++wave_now_;
  fruitless_ = 0;
  wake_next(key);
}

void ParkedCalls::wake_next(std::uint64_t key) {
  const auto queue = parked_.find(key);
  if (queue == parked_.end()) return;
  for (Place* place : queue->second) {
    if (place->wait_->is_woken || place->wave_ == wave_now_) continue;
    place->wave_ = wave_now_;
    place->wait_->wake();
    return;
  }
}

void ParkedCalls::wake_all(std::uint64_t key) {
  ++wave_now_;
  const auto queue = parked_.find(key);
  if (queue == parked_.end()) return;
  for (Place* place : queue->second) place->wait_->wake();
}

void ParkedCalls::stop() {
  is_stopped_ = true;
  for (auto& [key, queue] : parked_) {
    for (Place* place : queue) place->wait_->wake();
  }
}

}  // namespace mh::server
