// Gives out work: which workunit a host gets, or the reason for none (rules 6 to 12 of
// coordinator.h). Flow: exchange -> here -> State. Private to scheduler/coordinator; pure.
#pragma once

#include "scheduler/state.h"

namespace mh::scheduler {

// Renews the leases that the host names and lists those that are gone in reply.revoked (rule 3).
void renew_leases(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now,
                  ExchangeReply& reply);

// Fills reply.assignments, no_work_reason, retry_at, backoff and is_drained.
void assign_work(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now,
                 ExchangeReply& reply);

}  // namespace mh::scheduler
