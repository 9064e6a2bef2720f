// MH_CHECK: a broken invariant of our own code. On in release builds; never used on input.
#pragma once

namespace mh {

// Logs file, line and condition to stderr and aborts; the process restarts from its store.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace mh

#define MH_CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::mh::check_failed(#condition, __FILE__, __LINE__))
