// Results of one workunit against each other: which ones are checked by another host, who may
// check, which agree, and what follows for credit and standing (rules 20 to 24 of coordinator.h).
//
// Flow: validator -> take_success() -> [another host's result | compared()] -> quorum -> outcomes
//       -> job_steps::workunit_done()
// Private to scheduler/coordinator; pure.
#pragma once

#include <optional>

#include "scheduler/state.h"

namespace mh::scheduler {

// Rule 20: this host may compute what is to confirm what others reported of the workunit.
bool may_check(const State& state, const JobEntry& job, const WorkunitEntry& workunit,
               const HostEntry& host, TimePoint now);
// Rule 20: until then a check of this workunit is kept for a trusted host; in the past: it is not.
TimePoint kept_for_trusted_until(const State& state, const JobEntry& job,
                                 const WorkunitEntry& workunit, TimePoint now);

// A result that passed the screens, whose fields are those of its report: it counts, or waits for
// another host's. May end the workunit, and with the last of an evaluation forget it and its
// results: the row is given back. `norm`: of the gradient sum.
ResultRow take_success(State& state, HostEntry& host, ResultEntry& result, double norm,
                       TimePoint now);

// What the shell measured; none: the updates could not be read, both results are given back.
// Results that are no longer reported are ignored.
void take_distance(State& state, ResultId first, ResultId second,
                   const std::optional<Distance>& distance, TimePoint now);

// An admin trusts the host now: its word is enough for what it has reported already.
void take_word(State& state, const HostEntry& host, TimePoint now);

// Takes reported results out of a workunit that is dropped, and lets go of their updates.
void drop_reported(State& state, WorkunitEntry& workunit, TimePoint now);

// What the shell has to compare for this workunit: pairs with `result`, or all.
void ask_for_comparisons(State& state, const WorkunitEntry& workunit,
                         std::optional<ResultId> result = std::nullopt);

}  // namespace mh::scheduler
