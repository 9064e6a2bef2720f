// The one queue of a simulated world: what happens next. Events at the same time happen in the
// order in which they were scheduled. Virtual time only; no threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "proto/base/check.h"
#include "proto/base/clock.h"

namespace mh::sim {

enum class EventKind : std::uint8_t {
  // A host: `host` names it, `life` the run of its client (events of an earlier run are void).
  kHostArrives,
  kHostUp,
  kHostDown,
  kHostKilled,
  kHostPause,
  kHostResume,
  kHostTimer,
  kAttachReply,
  kReply,
  kDownloadEnd,
  kUploadEnd,
  kTrainerReady,
  kTrainerEnded,
  kTrainerDone,
  kClockJump,
  // The server: `life` is the run of its process.
  kRequest,
  kAttachRequest,
  kCallerGone,
  kScreened,
  kCommitted,
  kParkTimer,
  kParkWoken,
  kTick,
  kCompared,
  kAggregated,
  kServerCrash,
  kServerStart,
  // The world: faults and the admin.
  kPartitionBegin,
  kPartitionEnd,
  kDiskFull,
  kDiskFree,
  kDropout,
  kAdmin,
  kFaultsEnd,
};

std::string_view event_name(EventKind kind);

struct Event {
  TimePoint time{};
  std::uint64_t sequence = 0;
  // What it is about: a handle (slab.h), a result id …
  std::uint64_t subject = 0;
  std::uint32_t host = 0;
  std::uint32_t life = 0;
  EventKind kind = EventKind::kTick;
};

class EventQueue {
 public:
  explicit EventQueue(TimePoint start) : now_(start) {}

  TimePoint now() const { return now_; }
  bool is_empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }
  // Requires: not empty.
  TimePoint next_time() const { return heap_.front().time; }

  void schedule(TimePoint at, Event event) {
    event.time = std::max(at, now_);
    event.sequence = ++sequence_;
    heap_.push_back(event);
    std::push_heap(heap_.begin(), heap_.end(), is_later);
  }
  void schedule_in(milliseconds delay, const Event& event) { schedule(now_ + delay, event); }

  // The next event; time moves on to it. Requires: not empty.
  Event pop() {
    MH_CHECK(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    const Event event = heap_.back();
    heap_.pop_back();
    now_ = event.time;
    return event;
  }

 private:
  static bool is_later(const Event& a, const Event& b) {
    return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
  }

  TimePoint now_;
  std::uint64_t sequence_ = 0;
  std::vector<Event> heap_;
};

}  // namespace mh::sim
