// Builds the coordinator's memory from the rows of the store (rule 17 of coordinator.h).
// Private to scheduler/coordinator; pure.
#pragma once

#include "scheduler/state.h"

namespace mh::scheduler {

// Requires: a fresh state. Writes nothing back.
void restore(State& state, Snapshot snapshot, TimePoint now);

}  // namespace mh::scheduler
