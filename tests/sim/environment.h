// What the parts of a simulated world share: the jobs there are, the counts that a report is made
// of, the trace, and whether the faults are over. Plain values; no threads.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_set>
#include <vector>

#include "client/daemon/host_types.h"
#include "scheduler/events.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace mh::sim {

// A job, as its researcher and its trainers know it.
struct SimJob {
  JobId id;
  scheduler::JobSubmission submission;
  // Decides the numbers of its updates; equal seeds, equal blobs.
  std::uint64_t seed = 0;
  // Size of parameters and of updates.
  std::uint64_t parameter_bytes = 0;
  client::ManifestChunks chunks;
  std::uint64_t manifest_bytes = 0;
};

// For reports and for planning. Times in seconds.
struct WorldCounts {
  std::uint64_t events = 0;
  double online_seconds = 0;
  double computing_seconds = 0;
  // Computing whose result did not count: too late, refused, lost.
  double wasted_seconds = 0;
  // Of those, because another copy was first.
  double backup_seconds = 0;
  std::uint64_t results_valid = 0;
  std::uint64_t results_wasted = 0;
  std::uint64_t upload_bytes = 0;
  std::uint64_t download_bytes = 0;
  std::uint64_t client_starts = 0;
};

// The latest lines of what happened; empty unless it is kept.
class Trace {
 public:
  bool is_kept() const { return is_kept_; }
  void keep() { is_kept_ = true; }
  void add(TimePoint now, const std::string& text);
  const std::deque<std::string>& lines() const { return lines_; }

 private:
  static constexpr std::size_t kLinesMax = 100'000;

  bool is_kept_ = false;
  std::deque<std::string> lines_;
};

struct Environment {
  const Scenario& scenario;
  EventQueue& events;
  std::vector<SimJob> jobs;
  WorldCounts counts;
  Trace trace;
  bool is_healed = false;
  // Updates with wrong numbers, whether screening finds them or not.
  std::unordered_set<Digest> wrong_updates;
  // Number of the latest call of any host.
  std::uint64_t last_call = 0;

  const SimJob* job(JobId id) const;
};

}  // namespace mh::sim
