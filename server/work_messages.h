// WorkService's messages and the coordinator's values, one into the other, with every bound
// checked. Pure.
#pragma once

#include "manyhands/v1/work.pb.h"
#include "proto/base/result.h"
#include "scheduler/events.h"

namespace mh::server {

namespace v1 = manyhands::v1;

// Bounds of one call (docs/protocol.md, Limits).
inline constexpr int kReportsMax = 64;
inline constexpr int kHeldMax = 256;
inline constexpr std::uint32_t kWantedMax = 16;
inline constexpr int kHoldingsMax = 32;

// Errors: kInvalidArgument with field, value and limit.
Result<scheduler::HostDescription> to_description(const v1::HostDescription& message);

// Everything but `host` and `received`. Errors: as above.
Result<scheduler::ExchangeEvent> to_event(const v1::ExchangeRequest& request);

v1::ExchangeResponse to_message(const scheduler::ExchangeReply& reply);

}  // namespace mh::server
