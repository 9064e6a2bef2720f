// What follows when a result becomes the canonical one of its workunit, or agrees with it: counts,
// quota, the blame of those that screens refused. Used by checks and quorum.
// Private to scheduler/coordinator; pure.
#pragma once

#include <string>

#include "scheduler/state.h"

namespace mh::scheduler {

// Norms of valid gradients that are remembered, for rule 22.
inline constexpr std::size_t kNormsKept = 64;

// The workunit's canonical result; the caller settles credit and standing. Returns its row: it may
// end an evaluation, which forgets the workunit.
ResultRow make_canonical(State& state, JobEntry& job, WorkunitEntry& workunit, ResultEntry& result,
                         TimePoint now);
// A valid or agreeing result, in the rows of its host and of the host's contribution.
void count_valid(State& state, JobEntry& job, HostEntry& host, const WorkunitEntry& workunit,
                 const ResultEntry& result, TimePoint now);
// Results of other hosts that a screen refused, where `right_host`'s is right: it was not the job.
void blame_rejected(State& state, const JobEntry& job, const WorkunitEntry& workunit,
                    HostId right_host, TimePoint now);
// Rule 12: a result that was refused, differed or failed.
void blame(State& state, HostEntry& host, TimePoint now);
// "result 12 of job 3".
std::string result_text(const ResultRow& row);

}  // namespace mh::scheduler
