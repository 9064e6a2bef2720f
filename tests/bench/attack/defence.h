// What stands between updates and the model in a run: checks by the coordinator, and the rule that
// makes one gradient of the hosts'. Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "tests/bench/attack/vectors.h"
#include "trainer/robust/recipe.h"

namespace mh::attack {

struct Defence {
  std::string name;
  // The job's checks are the default ones; else none.
  bool has_checks = true;
  // Over the hosts' mean gradients; none: the exact mean in the order of the shards.
  std::optional<robust::Recipe> recipe;
};

// "default" (checks, mean), "none" (no checks, mean), or names joined by '+': "trimmed_mean",
// "nnm+trimmed_mean" (no checks), "default+nnm+trimmed_mean". `f` of the rule is the number of
// attackers. Errors: kInvalidArgument, with the names that there are.
Result<Defence> parse_defence(std::string_view text, std::uint64_t attacker_count);

// One shard's sum of gradients, and who sent it.
struct Contribution {
  HostId host;
  std::span<const float> sum;
  std::uint64_t sample_count = 0;
};

// The step's mean gradient. In the order of shards. Errors: kInvalidArgument for values that are
// not finite under a robust rule.
Result<Vector> combine(const Defence& defence, std::span<const Contribution> contributions);

}  // namespace mh::attack
