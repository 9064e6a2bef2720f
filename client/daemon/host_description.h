// What this machine says about itself: claims for display and estimates, never for credit.
#pragma once

#include <cstdint>
#include <string>

#include "client/daemon/host_types.h"
#include "manyhands/v1/work.pb.h"

namespace mh::client {

/// The machine's name, for the default of --name.
std::string machine_name();
/// For example "linux-x86_64".
std::string platform_name();
/// "AMD EPYC 7763", from /proc/cpuinfo; empty if it does not say.
std::string cpu_model();
/// Usable processors, at least 1.
std::uint32_t cpu_count();

/// `trainer.device` may be empty: not known yet.
manyhands::v1::HostDescription describe_host(const std::string& name, const TrainerReady& trainer);

}  // namespace mh::client
