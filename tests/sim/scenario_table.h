// The table of a scenario's numbers: see scenario.h. No threads.
#pragma once

#include <span>
#include <string_view>

#include "tests/sim/scenario.h"

namespace mh::sim {

struct Knob {
  std::string_view group;
  std::string_view name;
  double Scenario::*member;
  // What is allowed.
  Range limits;
  // Range in the default mix; value for a day of a population.
  Range mix;
  double population;
  // The number is 0 when this kind of fault is switched off.
  FaultKind kind;
  std::string_view help;
};

// Every number of a scenario, by groups.
std::span<const Knob> all_knobs();

}  // namespace mh::sim
