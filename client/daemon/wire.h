// Messages of WorkService to and from the host core's values. What a server says is checked here:
// the core gets values in range, or an assignment with a `problem`. Pure.
#pragma once

#include "client/daemon/host_types.h"
#include "manyhands/v1/work.pb.h"

namespace mh::client {

namespace v1 = ::manyhands::v1;

v1::ExchangeRequest to_message(const ExchangeCall& call);
ExchangeReply from_message(const v1::ExchangeResponse& response);

}  // namespace mh::client
