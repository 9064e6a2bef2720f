// Random numbers of a simulated world: one stream for each purpose and thing, all from the seed, so
// that switching one kind of fault off leaves the draws of the others as they were.
// Built on Philox (proto/base/random.h); the distributions are our own, because those of the
// standard library differ between implementations. No threads.
#pragma once

#include <cstdint>

#include "proto/base/random.h"

namespace mh::sim {

// What a stream is for. Not persistent: only equal within one version of the program.
enum class Purpose : std::uint64_t {
  kScenario = 1,
  kOptions,
  kJobs,
  kServer,
  kFaults,
  kAdmin,
  kProfile,
  kSession,
  kNetwork,
  kTrainer,
  kHostile,
  kCore,
};

class Random {
 public:
  Random(std::uint64_t seed, Purpose purpose, std::uint64_t index = 0);

  // In [0, 1).
  double uniform() { return uniform_double(stream_.next64()); }
  // Requires: bound > 0.
  std::uint64_t below(std::uint64_t bound) { return stream_.below(bound); }
  bool chance(double probability) { return probability > 0 && uniform() < probability; }
  double between(double low, double high) { return low + (high - low) * uniform(); }
  // Uniform in the logarithm. Requires: 0 < low <= high.
  double log_between(double low, double high);
  double exponential(double mean);
  double normal();
  double log_normal(double median, double sigma);
  double weibull(double shape, double mean);

 private:
  Philox4x32 stream_;
};

}  // namespace mh::sim
