// Judges reports: which result counts, what it earns, who is to blame (rules 1, 2, 5, 12, 13 of
// coordinator.h). Flow: exchange -> here -> job_steps. Private to scheduler/coordinator; pure.
#pragma once

#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

// One verdict for each report, in order.
std::vector<ReportVerdict> judge_reports(State& state, HostEntry& host,
                                         const std::vector<Report>& reports, TimePoint now);

}  // namespace mh::scheduler
