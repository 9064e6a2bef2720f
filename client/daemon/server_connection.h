// How this client reaches its server and knows it again: one place for all connections.
// Threads: any.
#pragma once

#include "client/daemon/client_state.h"
#include "proto/net/http_client.h"

namespace mh::client {

/// With the host's secret, and the identity that the state pins. Errors: kDataLoss (the state holds
/// a fingerprint that is none).
Result<net::HttpClientOptions> connection_options(const ClientState& state);

}  // namespace mh::client
