// Runs many seeds on several threads, and makes a failure small: the same seed with kinds of faults
// switched off and with fewer hosts, as long as the same invariant breaks.
// Threads: as many as asked for; each world belongs to one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace mh::sim {

struct RunOptions {
  ScenarioFile scenario = ScenarioFile::mix();
  std::set<FaultKind> without;
  std::uint64_t first_seed = 1;
  std::uint64_t seed_count = 1;
  unsigned threads = 1;
};

struct Failure {
  std::uint64_t seed = 0;
  Outcome outcome;
  // What still fails.
  std::set<FaultKind> without;
  std::optional<std::uint32_t> hosts;
};

struct RunReport {
  std::uint64_t seeds_run = 0;
  // Of the smallest seed that failed.
  std::optional<Failure> failure;
  // Sums over all seeds.
  WorldCounts counts;
  ServerCounts server;
  double virtual_seconds = 0;
  std::uint64_t jobs_finished = 0;
  // Over all seeds in their order.
  std::uint64_t digest = 0;
};

// A broken MH_CHECK counts as a broken invariant while this runs.
RunReport run_seeds(const RunOptions& options);

// Tries to make it smaller; the outcome then has the trace.
Failure shrink(const RunOptions& options, const Failure& found);

}  // namespace mh::sim
