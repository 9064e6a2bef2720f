// See service.h.
#include "client/daemon/service.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

#include "proto/base/file.h"
#include "proto/base/options.h"
#include "proto/base/sha256.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAnswerBytesMax = 64 * 1024;
// systemctl waits for what it starts and stops.
constexpr std::chrono::seconds kPatience{90};
constexpr std::string_view kWants = "default.target.wants";

// Where the user's systemd has its socket; empty if there is none.
fs::path runtime_folder() {
  const auto named = environment_value("XDG_RUNTIME_DIR");
  const fs::path folder = named ? *named : "/run/user/" + std::to_string(::getuid());
  std::error_code error;
  return fs::exists(folder / "systemd" / "private", error) ? folder : fs::path();
}

struct Answer {
  int exit_code = 0;
  std::string text;
};

// Takes down what comes until the other end is closed; false: that took too long.
bool read_answer(int pipe, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::array<char, 4096> bytes{};
  for (ssize_t count = 1; count > 0;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd readable{.fd = pipe, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) == 0)
      return false;
    count = ::read(pipe, bytes.data(), bytes.size());
    if (count > 0 && text.size() < kAnswerBytesMax)
      text.append(bytes.data(), static_cast<std::size_t>(count));
  }
  return true;
}

// Runs `systemctl --user ARGUMENTS`; takes down what it says, on either stream.
Result<Answer> ask_systemctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"systemctl", "--user"});
  std::vector<char*> words;
  for (std::string& word : arguments) words.push_back(word.data());
  words.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("cannot make", "a pipe", errno);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  // After su or sudo the variable is missing though the manager is there.
  ::setenv("XDG_RUNTIME_DIR", runtime_folder().c_str(), /*overwrite=*/0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, "systemctl", &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return errno_error("cannot run", "systemctl", code);
  write_end.reset();
  Answer answer;
  const bool has_ended = read_answer(read_end.get(), answer.text);
  if (!has_ended) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!has_ended)
    return fail(Errc::kDeadlineExceeded,
                "systemctl has not answered for " + std::to_string(kPatience.count()) + " seconds");
  answer.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  while (answer.text.ends_with('\n')) answer.text.pop_back();
  return answer;
}

Status tell_systemctl(const std::vector<std::string>& arguments) {
  MH_TRY(const Answer answer, ask_systemctl(arguments));
  if (answer.exit_code == 0) return {};
  return fail(Errc::kInternal, "systemctl --user " + arguments.front() + " failed: " + answer.text);
}

// An argument of ExecStart: in quotes, without specifiers or variables.
Result<std::string> quoted(const std::string& argument) {
  std::string text = "\"";
  for (const char c : argument) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F)
      return fail(Errc::kInvalidArgument,
                  "a control character in '" + argument + "' cannot stand in a unit file");
    if (c == '"' || c == '\\') text += '\\';
    if (c == '%' || c == '$') text += c;
    text += c;
  }
  return text + "\"";
}

}  // namespace

Result<Service> service_of(const ClientFolder& folder) {
  MH_TRY(const std::string config, xdg_folder("XDG_CONFIG_HOME", ".config"));
  MH_TRY(const std::string data, xdg_folder("XDG_DATA_HOME", ".local/share"));
  Service service{.name = "manyhands-client.service", .file = {}};
  if (folder.root != fs::path(data + "/manyhands-client").lexically_normal())
    service.name =
        "manyhands-client-" + sha256(folder.root.string()).hex().substr(0, 8) + ".service";
  service.file = fs::path(config) / "systemd" / "user" / service.name;
  return service;
}

Result<std::string> service_unit(const fs::path& program, const ClientFolder& folder,
                                 const std::vector<std::string>& run_options) {
  MH_TRY(std::string command, quoted(program.string()));
  std::vector<std::string> arguments = {"--dir", folder.root.string()};
  arguments.insert(arguments.end(), run_options.begin(), run_options.end());
  command += " run";
  for (const std::string& argument : arguments) {
    MH_TRY(const std::string word, quoted(argument));
    command += " " + word;
  }
  return "# Made by 'manyhands-client service install'; 'service remove' removes it.\n"
         "[Unit]\n"
         "Description=Manyhands: trains neural networks together, as a volunteer\n"
         "Documentation=man:manyhands-client(1)\n"
         "\n"
         "[Service]\n"
         "ExecStart=" +
         command +
         "\n"
         "Restart=on-failure\n"
         "RestartSec=30\n"
         "# Wrong usage, or attached to no server: another start would not help.\n"
         "RestartPreventExitStatus=2\n"
         "UMask=0077\n"
         "NoNewPrivileges=yes\n"
         "RestrictRealtime=yes\n"
         "LockPersonality=yes\n"
         "SystemCallArchitectures=native\n"
         "\n"
         "[Install]\n"
         "WantedBy=default.target\n";
}

Status find_user_manager() {
  if (!runtime_folder().empty()) return {};
  return fail(
      Errc::kFailedPrecondition,
      "no systemd of this user can be asked here (" +
          environment_value("XDG_RUNTIME_DIR").value_or("/run/user/" + std::to_string(::getuid())) +
          "/systemd/private is not there): log in as the user who shall work, or start "
          "'manyhands-client run' by other means");
}

Result<std::string> install_service(const ClientFolder& folder,
                                    const std::vector<std::string>& run_options) {
  MH_TRY_VOID(find_user_manager());
  MH_TRY(const Service service, service_of(folder));
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  MH_TRY(const std::string unit, service_unit(program, folder, run_options));
  fs::create_directories(service.file.parent_path(), error);
  if (error) return errno_error("cannot make", service.file.parent_path(), error.value());
  MH_TRY_VOID(write_file_atomically(service.file, unit, 0644));
  MH_TRY_VOID(tell_systemctl({"daemon-reload"}));
  MH_TRY_VOID(tell_systemctl({"enable", service.name}));
  MH_TRY_VOID(tell_systemctl({"restart", service.name}));
  return "Wrote " + service.file.string() + ", enabled and started " + service.name +
         ".\nIt works while you are logged in; 'loginctl enable-linger' lets it work always.\n"
         "Its log: journalctl --user -u " +
         service.name + "\n";
}

Result<std::string> remove_service(const ClientFolder& folder) {
  MH_TRY(const Service service, service_of(folder));
  std::error_code error;
  if (!fs::exists(service.file, error))
    return fail(Errc::kNotFound,
                "no service is installed: " + service.file.string() + " is not there");
  const bool has_manager = find_user_manager().has_value();
  if (has_manager) MH_TRY_VOID(tell_systemctl({"disable", "--now", service.name}));
  fs::remove(service.file.parent_path() / kWants / service.name, error);
  if (!fs::remove(service.file, error))
    return errno_error("cannot remove", service.file, error.value());
  if (has_manager) MH_TRY_VOID(tell_systemctl({"daemon-reload"}));
  return "Stopped, disabled and removed " + service.name + ".\n";
}

Result<ServiceState> service_state(const ClientFolder& folder) {
  MH_TRY(const Service service, service_of(folder));
  ServiceState state;
  std::error_code error;
  state.is_installed = fs::exists(service.file, error);
  if (!state.is_installed || !find_user_manager().has_value()) return state;
  MH_TRY(const Answer enabled, ask_systemctl({"is-enabled", service.name}));
  MH_TRY(const Answer active, ask_systemctl({"is-active", service.name}));
  state.enabled = enabled.text;
  state.active = active.text;
  return state;
}

}  // namespace mh::client
