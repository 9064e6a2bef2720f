// What manyhands-sim prints: for people and, with --json, for scripts. Pure but for the probes.
#pragma once

#include <string>

#include "tests/sim/plan.h"
#include "tests/sim/runner.h"

namespace mh::sim {

// `replay`: the command that repeats the failure, if there is one; of its log `log_lines` are
// shown.
std::string text_of(const RunReport& report, const std::string& replay, std::size_t log_lines);
std::string json_of(const RunReport& report, const std::string& replay, std::size_t log_lines);
std::string text_of(const PlanReport& report);
std::string json_of(const PlanReport& report);

}  // namespace mh::sim
