// The gradient of a step whose job names a robust rule: from the updates of its shards, and whose
// they are, to what the optimizer gets. The server and `manyhands-trainer reference` both call
// this.
//
// The shards of one voice (a host, or each shard by itself) are one vector: their sums, added in
// shard order in double, divided by their samples, rounded once to float32. Each voice counts once,
// however many shards it did. Bits depend on which shards are whose, and on nothing else.
// Memory: O(n²) and a tile a thread. Threads: starts up to `threads` - 1.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/result.h"
#include "trainer/model/model_plan.h"
#include "trainer/robust/recipe.h"
#include "trainer/update/aggregate.h"

namespace mh::robust {

struct StepShards {
  /// Sums of gradients, in shard order.
  update::Shards sums;
  /// Whose each is: numbers 0, 1, 2, … in the order of their first shards.
  std::span<const std::uint32_t> voices;
  /// Of each shard.
  std::uint64_t sample_count = 0;
};

/// Requires: as many voices as sums; sample_count > 0. Errors: kInvalidArgument when the recipe is
/// not defined for so many voices (says rule, condition and numbers), or a value is not finite.
Status step_gradient(const Recipe& recipe, const StepShards& shards,
                     std::span<const model::ParameterSpec> layout, std::span<float> out,
                     unsigned threads);

}  // namespace mh::robust
