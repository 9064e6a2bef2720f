// The unattended install for one user: a systemd user service that runs `manyhands-client run`.
// One folder of the client, one service. The system service is the package's
// (scripts/package/manyhands-client.service). Calls wait for systemctl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "client/daemon/client_state.h"
#include "proto/base/result.h"

namespace mh::client {

struct Service {
  /// "manyhands-client.service"; with another folder than the default one a name of its own.
  std::string name;
  /// The unit file, among the user's own units.
  std::filesystem::path file;
};

/// Errors: kFailedPrecondition (HOME is not set).
Result<Service> service_of(const ClientFolder& folder);

/// The unit's text: `program run --dir FOLDER RUN_OPTIONS`.
/// Errors: kInvalidArgument (a line break or another control character in an argument).
Result<std::string> service_unit(const std::filesystem::path& program, const ClientFolder& folder,
                                 const std::vector<std::string>& run_options);

/// Nothing if this user has a systemd that can be asked; else kFailedPrecondition, saying what is
/// missing and what to do instead.
Status find_user_manager();

/// Writes the unit, enables and starts it; a unit that is there is replaced and started anew.
/// Returns what was done, in sentences. Errors: of find_user_manager; kInternal (systemctl failed),
/// kDeadlineExceeded (it did not answer).
Result<std::string> install_service(const ClientFolder& folder,
                                    const std::vector<std::string>& run_options);

/// Stops and disables it and removes its files, also where no systemd can be asked.
/// Errors: kNotFound (there is none).
Result<std::string> remove_service(const ClientFolder& folder);

struct ServiceState {
  bool is_installed = false;
  /// What systemctl says: "enabled", "active"; "unknown" where it cannot be asked.
  std::string enabled = "unknown";
  std::string active = "unknown";
};
Result<ServiceState> service_state(const ClientFolder& folder);

}  // namespace mh::client
