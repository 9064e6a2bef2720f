// Calls that wait for something to happen: hosts that ask for work when there is none, people who
// watch a job. A call parks under a key, is woken, looks again, and goes away or goes on waiting in
// its old place.
//
// Rules
// 1. First parked, first woken. One at a time for work: a woken call that leaves work behind says
//    so (pass_on), and the next is woken. *Rationale:* a thousand parked hosts must not all ask for
//    the four workunits of a step.
//    Who finds nothing for itself goes to the back, and after so many in a row (fruitless_max) the
//    rest wait for the next wake or their own time. *Rationale:* one workunit that only few may
//    have must not make all look, again and again.
// 2. A call whose caller has gone, or whose time is up, wakes by itself and sees is_over().
// 3. The number of parked calls is bounded, in all and for each owner; beyond it a call is answered
//    at once.
// Includes Asio: only the shell's .cpp files include it.
// Threads: owned by the strand it was made with.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include "proto/net/connect_core.h"
#include "server/turnstile.h"

namespace mh::server {

namespace asio = boost::asio;

struct ParkingLimits {
  std::size_t parked_max = 20'000;
  // Of one owner (host or account) under any key.
  std::size_t parked_per_owner_max = 64;
  // Calls that look in vain before a wake gives up.
  std::size_t fruitless_max = 256;
};

class ParkedCalls {
 public:
  // `turnstile`, if given, is left by calls as long as they are parked; it must outlive this.
  explicit ParkedCalls(asio::any_io_executor strand, ParkingLimits limits = {},
                       Turnstile* turnstile = nullptr)
      : strand_(std::move(strand)), limits_(limits), turnstile_(turnstile) {}

  // A call's place in the queue; lives in the frame of its handler.
  class Place {
   public:
    // `key` is what it waits for, `owner` who waits. `most`: how long at most, in all.
    Place(ParkedCalls& calls, std::uint64_t key, std::uint64_t owner,
          std::shared_ptr<net::CallSignal> ended, std::chrono::milliseconds most);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // Waits until woken, until `most` of this wait has passed, or until it is over.
    asio::awaitable<void> wait(std::chrono::milliseconds most);
    // Nothing is to be waited for any more: time is up, the caller has gone, the server stops or
    // too many are parked.
    bool is_over() const;
    // It was not let in: too many are parked.
    bool is_refused() const { return !is_parked_ && !calls_.is_stopped_; }
    // Something is left for others: wakes the next one of this wake() that has not looked yet.
    // `found`: this one got something.
    void pass_on(bool found);

   private:
    friend class ParkedCalls;
    struct Wait;
    ParkedCalls& calls_;
    const std::uint64_t key_;
    const std::uint64_t owner_;
    const std::chrono::steady_clock::time_point until_;
    std::shared_ptr<net::CallSignal> ended_;
    std::shared_ptr<Wait> wait_;
    std::uint64_t subscription_ = 0;
    std::uint64_t wave_ = 0;
    bool is_parked_ = false;
    std::list<Place*>::iterator position_;
  };

  // Wakes the first call parked under `key`; it passes on what is left.
  void wake_first(std::uint64_t key);
  // Wakes all calls parked under `key`.
  void wake_all(std::uint64_t key);
  // Ends all waits, now and from now on: the server stops.
  void stop();
  std::size_t count() const { return count_; }

 private:
  void wake_next(std::uint64_t key);

  const asio::any_io_executor strand_;
  const ParkingLimits limits_;
  Turnstile* const turnstile_;
  std::map<std::uint64_t, std::list<Place*>> parked_;
  std::map<std::uint64_t, std::size_t> count_of_owner_;
  std::size_t count_ = 0;
  // Number of the latest wake; a call that has looked since is not woken again by pass_on().
  std::uint64_t wave_now_ = 0;
  // Calls that have looked in vain since.
  std::size_t fruitless_ = 0;
  bool is_stopped_ = false;
};

}  // namespace mh::server
