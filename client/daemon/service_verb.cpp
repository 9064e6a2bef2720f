// See service_verb.h.
#include "client/daemon/service_verb.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/daemon/service.h"

namespace mh::client {

ServiceVerb::ServiceVerb(CLI::App& app, std::string& dir) : dir_(dir) {
  CLI::App* group = app.add_subcommand(
      "service", "Work unattended, as a systemd service of this user: install, remove, status");
  group->require_subcommand(1);
  CLI::App& install_verb =
      add(*group, "install", "Write the unit, enable and start it",
          "manyhands-client service install -- --threads 2 --idle-class", &ServiceVerb::install);
  install_verb.add_flag("--dry-run", is_dry_run_, "Print the unit, change nothing");
  install_verb.add_option("options", run_options_, "Options of 'run', after --");
  add(*group, "remove", "Stop and disable it, remove the unit", "manyhands-client service remove",
      &ServiceVerb::remove);
  CLI::App& status_verb = add(*group, "status", "Whether it is installed, enabled and active",
                              "manyhands-client service status", &ServiceVerb::status);
  status_verb.add_flag("--json", wants_json_, "Print JSON");
}

CLI::App& ServiceVerb::add(CLI::App& group, const char* name, const char* what, const char* example,
                           Status (ServiceVerb::*action)() const) {
  CLI::App* verb = group.add_subcommand(name, what);
  verb->add_option("--dir", dir_,
                   "Folder of this client [MANYHANDS_CLIENT_DIR, else "
                   "~/.local/share/manyhands-client]");
  verb->footer(
      std::string("Example:\n  ") + example +
      "\n\nExit codes: 0 done, or active; 1 it failed, or is not; 2 wrong usage or input.");
  verb->callback([this, action] { chosen_ = [this, action] { return (this->*action)(); }; });
  return *verb;
}

Status ServiceVerb::install() const {
  MH_TRY(const ClientFolder folder, find_client_folder(dir_));
  if (is_dry_run_) {
    MH_TRY(const Service service, service_of(folder));
    std::error_code error;
    MH_TRY(
        const std::string unit,
        service_unit(std::filesystem::read_symlink("/proc/self/exe", error), folder, run_options_));
    std::cout << "# " << service.file.string() << "\n" << unit;
    return {};
  }
  MH_TRY(const ClientState state, load_state(folder));
  if (!state.is_attached())
    return fail(Errc::kFailedPrecondition,
                "attached to no server yet: run 'manyhands-client attach' first");
  MH_TRY(const std::string done, install_service(folder, run_options_));
  std::cout << done;
  return {};
}

Status ServiceVerb::remove() const {
  MH_TRY(const ClientFolder folder, find_client_folder(dir_));
  MH_TRY(const std::string done, remove_service(folder));
  std::cout << done;
  return {};
}

Status ServiceVerb::status() const {
  MH_TRY(const ClientFolder folder, find_client_folder(dir_));
  MH_TRY(const Service service, service_of(folder));
  MH_TRY(const ServiceState state, service_state(folder));
  if (wants_json_)
    std::cout << nlohmann::ordered_json{{"installed", state.is_installed},
                                        {"unit", service.file.string()},
                                        {"enabled", state.enabled},
                                        {"active", state.active}}
                     .dump(2)
              << "\n";
  else if (state.is_installed)
    std::cout << service.file.string() << ": " << state.enabled << ", " << state.active << "\n";
  if (!state.is_installed)
    return fail(Errc::kNotFound, "no service is installed: 'manyhands-client service install'");
  if (state.active == "active") return {};
  if (state.active == "unknown") return find_user_manager();
  return fail(Errc::kAborted,
              service.name + " is not active: journalctl --user -u " + service.name);
}

}  // namespace mh::client
