// Code probes: marks in rare branches, so that a test can say which of them it never reached
// (FoundationDB's habit). `MH_PROBE("a late report counts");` costs one increment of its own
// counter. Every probe of the program is listed, reached or not.
// Threads: any; increments that meet may be lost, only "never" and "often" mean something.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace mh {

// Placed by MH_PROBE in a section of its own, which is the list. The alignment makes it an array.
struct alignas(32) Probe {
  const char* name;
  const char* file;
  std::uint32_t line;
  std::atomic<std::uint32_t> hit_count{0};

  void hit() {
    hit_count.store(hit_count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

// Every probe linked into the program, in no order.
std::vector<const Probe*> all_probes();

}  // namespace mh

#define MH_PROBE(text)                                                            \
  do {                                                                            \
    static constinit ::mh::Probe mh_probe                                         \
        __attribute__((section("mh_probes"), used)) = {text, __FILE__, __LINE__}; \
    mh_probe.hit();                                                               \
  } while (false)
