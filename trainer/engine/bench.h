// Speed of the trainer beside the plain LibTorch loop, measured in turns. Torch-free.
// Flow: verb_bench -> measure() -> a child process for each turn -> trainer_speed() or
// plain_loop_speed(). Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/base/result.h"
#include "trainer/engine/engine.h"

namespace mh::engine {

/// What to measure.
struct BenchOptions {
  EngineJob job;
  /// Samples of one gradient, as a workunit has.
  std::uint64_t shard = 512;
  std::string device = "cpu";
  int threads = 1;
  /// Of measuring, in all; warm-up comes on top.
  double seconds = 20;
  bool with_trainer = true;
  bool with_plain = true;
};

struct BenchOutcome {
  /// Median of the turns.
  std::optional<double> trainer_samples_per_second;
  std::optional<double> plain_samples_per_second;
};

/// Measures both in turns, each turn in a process of its own: the plain loop must not profit from
/// the trainer's malloc settings, nor suffer from them. Errors: kInternal with what the child says.
/// Requires: torch is untouched so far.
Result<BenchOutcome> measure(const BenchOptions& options);

}  // namespace mh::engine
