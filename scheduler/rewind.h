// Takes a step again without some hosts' updates, and puts the job there (rule 28 of
// coordinator.h): which steps have to be computed, and what follows when they are.
//
// Flow: the shell reads RewindPast -> plan_rewind() -> the shell computes the steps -> rewind()
// Private to scheduler/coordinator; pure.
#pragma once

#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

// Hosts in one order.
inline constexpr std::size_t kRewindHostsMax = 1'024;
// Bytes of its reason.
inline constexpr std::size_t kRewindReasonBytesMax = 400;

// See Coordinator::plan_rewind().
Result<RewindPlan> plan_rewind(const State& state, const RewindOrder& order,
                               const RewindPast& past);

// Requires: the order's plan, made of the state as it is; one output for each of its steps.
Rewound rewind(State& state, const RewindOrder& order, const RewindPast& past,
               const std::vector<StepOutput>& outputs, TimePoint now);

}  // namespace mh::scheduler
