// Which training sample stands at which position of a run's stream. Manyhands gives samples to
// hosts itself, from one shuffled stream, so every shard is a random sample of the data; to see
// what attacks do where shards differ, `kByClass` fills each shard from two classes only. Pure; no
// threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "proto/base/random.h"
#include "scheduler/planner.h"

namespace mh::attack {

enum class Distribution { kIid, kByClass };
// "iid", "non-iid".
std::string_view name_of(Distribution distribution);

class SampleOrder {
 public:
  // Requires: every class below the highest has a sample; shape.shard divides shape.batch.
  SampleOrder(Distribution distribution, std::uint64_t seed, std::span<const std::uint8_t> classes,
              const scheduler::StepShape& shape);

  std::vector<std::uint64_t> samples_of(const scheduler::ShardRange& range);

 private:
  std::uint64_t by_class(std::uint64_t position) const;

  const Distribution distribution_;
  const scheduler::StepShape shape_;
  scheduler::SampleStream stream_;
  // By class: its samples, shuffled.
  std::vector<std::vector<std::uint64_t>> of_class_;
};

}  // namespace mh::attack
