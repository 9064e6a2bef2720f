// The verbs of manyhands-sim: `run` (seeds, faults, invariants) and `plan` (how long will a job
// take?).
#pragma once

namespace mh::sim {

// Returns the exit code: 0 all held, 1 an invariant broke, 2 wrong usage or input.
int run_command_line(int argc, const char* const* argv);

}  // namespace mh::sim
