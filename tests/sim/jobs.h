// The jobs of a simulated world: made from a scenario's numbers, or from a real job file.
#pragma once

#include <vector>

#include "tests/sim/environment.h"
#include "tests/sim/random.h"

namespace mh::sim {

std::vector<SimJob> make_jobs(const Scenario& scenario, std::uint64_t seed);

}  // namespace mh::sim
