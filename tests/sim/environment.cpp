#include "tests/sim/environment.h"

#include <cstdio>

namespace mh::sim {

void Trace::add(TimePoint now, const std::string& text) {
  if (!is_kept_) return;
  char time[32];
  std::snprintf(time, sizeof time, "%10.3f  ", static_cast<double>(to_unix_ms(now)) / 1000);
  lines_.push_back(time + text);
  if (lines_.size() > kLinesMax) lines_.pop_front();
}

const SimJob* Environment::job(JobId id) const {
  for (const SimJob& job : jobs) {
    if (job.id == id) return &job;
  }
  return nullptr;
}

std::string_view event_name(EventKind kind) {
  static constexpr std::string_view kNames[] = {
      "arrives",         "starts",          "stops",         "is killed",      "is paused",
      "is resumed",      "timer",           "attach answer", "answer",         "download ends",
      "upload ends",     "trainer ready",   "trainer ends",  "trainer done",   "clock jumps",
      "request arrives", "attach arrives",  "caller gone",   "screened",       "commit",
      "hold ends",       "held call woken", "tick",          "compared",       "step published",
      "server crashes",  "server starts",   "partition",     "partition ends", "disk full",
      "disk free",       "drop-out",        "admin",         "faults end"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace mh::sim
