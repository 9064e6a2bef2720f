// The gradient of a step as its public record tells it (docs/audit.md): from the updates and the
// pseudonyms of those who computed them to what the optimizer gets, in the bits of the server
// (step_gradient.h). For jobs that name a robust rule.
// Threads: step_gradient.h.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "trainer/robust/step_gradient.h"
#include "trainer/update/job_rule.h"

namespace mh::robust {

struct RecordedShards {
  std::uint64_t step = 0;
  /// Sums of gradients, in shard order.
  update::Shards sums;
  /// Whose each is.
  std::span<const std::string> hosts;
};

/// Whose each shard is, as numbers in the order of first shards: of hosts, or each by itself.
std::vector<std::uint32_t> voices_of(update::VoiceUnit unit, std::span<const std::string> hosts);

/// Requires: as many hosts as sums; not the exact mean. Errors: those of step_gradient().
Status recorded_gradient(const update::JobRule& rule, const RecordedShards& shards,
                         std::span<float> out, unsigned threads);

}  // namespace mh::robust
