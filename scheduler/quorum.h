// Which of a workunit's reported results agree, and what follows for each (rules 20, 21, 23, 24).
// Private to scheduler/coordinator; pure.
#pragma once

#include <utility>

#include "scheduler/state.h"

namespace mh::scheduler {

// Finds the canonical result among those reported, or leaves the workunit waiting for what is
// lacking: a distance, or another host's result.
void decide_reported(State& state, WorkunitEntry& workunit, TimePoint now);

// The pairs of a result that joins those reported: equal digests need no look at the bits.
void add_distances(State& state, WorkunitEntry& workunit, const ResultRow& joining);

// Of one account, or of one network.
bool is_same_party(const HostOrigin& first, const HostOrigin& second);
// A pair as WorkunitEntry::distances names it.
std::pair<ResultId, ResultId> ordered(ResultId a, ResultId b);

}  // namespace mh::scheduler
