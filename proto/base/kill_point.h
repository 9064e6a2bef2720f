// Named points at which a test may end this process as kill -9 would: before and after each step
// that must survive it (commit, rename, fsync, reply). docs/testing.md says how to use them.
//
//   namespace { KillPoint before_commit("store.before_commit"); }
//   ...
//   before_commit.pass();
//
// MANYHANDS_KILL_POINT=NAME[:N], read when the program starts, kills it at the Nth passage of that
// point (N = 1 if not given). MANYHANDS_KILL_POINT=list prints the names of the program's points
// instead of running it (parse_command_line()), so that a test can see that it knows them all.
// Threads: any. Cost when not asked for: one branch that is never taken.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace mh {

class KillPoint {
 public:
  // For objects of static storage only: a point enters the list when the program starts and never
  // leaves it. `name` is a literal, unlike that of any other point.
  explicit KillPoint(const char* name);
  KillPoint(const KillPoint&) = delete;
  KillPoint& operator=(const KillPoint&) = delete;

  void pass() {
    if (is_armed_) [[unlikely]]
      count();
  }

  // All points of this program, sorted.
  static std::vector<std::string> names();
  // True if the names were asked for.
  static bool is_list_wanted();

 private:
  void count();

  // Constant after construction.
  const char* const name_;
  const KillPoint* const next_;
  bool is_armed_ = false;
  // Passages to come, the last of which kills.
  std::atomic<std::uint64_t> left_{0};
};

}  // namespace mh
