// From the client core's values to the coordinator's and back: what protobuf does between the real
// programs (client/daemon/wire, server/work_messages), with the same clamps. Pure.
#pragma once

#include "client/daemon/host_types.h"
#include "scheduler/events.h"

namespace mh::sim {

scheduler::ExchangeEvent to_event(const client::ExchangeCall& call, HostId host,
                                  const scheduler::HostDescription& description);
client::ExchangeReply to_client(const scheduler::ExchangeReply& reply);

}  // namespace mh::sim
