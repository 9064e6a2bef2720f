// The daemon's status as JSON (for --json and the control socket) and in words. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "client/daemon/host_core.h"

namespace mh::client {

nlohmann::ordered_json status_json(const HostStatus& status);
/// What `manyhands-client status` prints, from the JSON that the daemon answered.
std::string status_text(const nlohmann::ordered_json& status);

}  // namespace mh::client
