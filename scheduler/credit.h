// Credit: model FLOPs of validated work. Held back until a check of the host passes, granted, or
// forfeited when one fails; booked in a ledger once a step (rule 24). Private to
// scheduler/coordinator; pure.
#pragma once

#include <string>

#include "scheduler/state.h"

namespace mh::scheduler {

// What a valid result earns, at once or until the next check that the host passes.
void grant(State& state, JobEntry& job, HostEntry& host, double gflop);
void hold_back(State& state, JobEntry& job, HostEntry& host, double gflop);
// A check passed: what was held back is granted, in every job.
void grant_held(State& state, HostEntry& host, TimePoint now);
// One failed: what was held back is lost.
void forfeit_held(State& state, HostEntry& host, const std::string& reason, TimePoint now);
// Work of the host for the job does not count any more: takes back what it earned, of what is held
// first, then of what was granted.
void withdraw(State& state, JobEntry& job, HostEntry& host, double gflop, const std::string& reason,
              TimePoint now);
// Writes what hosts were granted since the last time into the ledger.
void book(State& state, JobEntry& job, const std::string& reason, TimePoint now);

}  // namespace mh::scheduler
