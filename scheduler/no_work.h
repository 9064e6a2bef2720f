// Why a host gets no work, in a sentence for people, and when it should ask again.
// Flow: assigner -> here. Private to scheduler/coordinator; pure.
#pragma once

#include "scheduler/state.h"

namespace mh::scheduler {

// Sets reply.no_work_reason and reply.backoff. Requires: the reply has no assignment.
void explain_no_work(const State& state, const HostEntry& host, TimePoint now,
                     ExchangeReply& reply);

}  // namespace mh::scheduler
