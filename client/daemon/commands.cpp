// See commands.h.
#include "client/daemon/commands.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "client/daemon/attach.h"
#include "client/daemon/control_socket.h"
#include "client/daemon/daemon.h"
#include "client/daemon/service.h"
#include "client/daemon/service_verb.h"
#include "client/daemon/status_text.h"
#include "proto/base/build_info.h"
#include "proto/base/find_trainer.h"
#include "proto/base/log.h"
#include "proto/base/options.h"

namespace mh::client {
namespace {

using Json = nlohmann::ordered_json;

// What the command line said; each verb reads what it knows.
struct Arguments {
  std::string dir;
  std::string url;
  std::string name;
  bool is_agreed = false;
  bool wants_service = false;
  std::string authority_file;
  bool is_insecure_http = false;
  std::string device = "auto";
  std::uint32_t threads = 0;
  std::string cache_bytes = "10GB";
  std::uint32_t keep_results = 64;
  std::string keep_bytes = "4GB";
  std::string keep_for = "7d";
  std::string trainer;
  std::string sandbox = "auto";
  std::string memory_bytes = "0";
  int nice_increment = 19;
  bool is_idle_class = false;
  std::string log_format = "text";
  bool is_verbose = false;
  bool wants_json = false;
  bool is_forced = false;
};

using Verb = Status (*)(const Arguments& arguments);

bool confirm(const Arguments& arguments, const std::string& plan) {
  std::cout << plan << std::flush;
  if (arguments.is_agreed) return true;
  std::cout << "Go on? [y/N] " << std::flush;
  std::string line;
  std::getline(std::cin, line);
  return line == "y" || line == "Y" || line == "yes";
}

bool ask_whether(const char* question) {
  std::cout << question << " [Y/n] " << std::flush;
  std::string line;
  return std::getline(std::cin, line) &&
         (line.empty() || line == "y" || line == "Y" || line == "yes");
}

Status run_run(const Arguments& arguments);

// After joining at a terminal: the volunteer need not know another command.
Status offer_work(const Arguments& arguments, const ClientFolder& folder) {
  const bool has_manager = find_user_manager().has_value();
  if (arguments.wants_service ||
      (!arguments.is_agreed && has_manager &&
       ask_whether("Work in the background from now on, and after each login (systemd)?"))) {
    MH_TRY(const std::string done, install_service(folder, {}));
    std::cout << done;
    return {};
  }
  if (!arguments.is_agreed && !has_manager &&
      ask_whether("Work in this terminal now, until Ctrl-C?"))
    return run_run(arguments);
  std::cout << "Start working with: manyhands-client run"
            << (arguments.dir.empty() ? "" : " --dir " + arguments.dir) << "\n";
  return {};
}

Status run_attach(const Arguments& arguments) {
  if (!arguments.is_agreed && ::isatty(STDIN_FILENO) == 0)
    return fail(Errc::kInvalidArgument,
                "standard input is no terminal, so you cannot be asked whether to join: add --yes");
  AttachOptions options;
  MH_TRY(options.folder, find_client_folder(arguments.dir));
  options.url = arguments.url;
  if (options.url == "-") std::getline(std::cin, options.url);
  options.authority_file = arguments.authority_file;
  options.is_insecure_http = arguments.is_insecure_http;
  options.cache_bytes = arguments.cache_bytes;
  options.keep_bytes = arguments.keep_bytes;
  options.nice_increment = arguments.nice_increment;
  options.name = arguments.name;
  options.confirm = [&arguments](const std::string& plan) { return confirm(arguments, plan); };
  MH_TRY(const AttachOutcome outcome, attach(options));
  const ClientState& state = outcome.state;
  std::cout << (outcome.was_attached ? "Already attached to " : "Attached to ") << state.server
            << " as host " << state.host.value() << " ('" << state.name << "').\n";
  return offer_work(arguments, options.folder);
}

Status run_run(const Arguments& arguments) {
  DaemonOptions options;
  MH_TRY(options.folder, find_client_folder(arguments.dir));
  options.device = arguments.device;
  options.threads = arguments.threads;
  MH_TRY(options.cache_bytes_max, parse_byte_size(arguments.cache_bytes));
  options.undelivered_count_max = arguments.keep_results;
  MH_TRY(options.undelivered_bytes_max, parse_byte_size(arguments.keep_bytes));
  MH_TRY(options.undelivered_age_max, parse_duration(arguments.keep_for));
  if (options.undelivered_bytes_max == 0)
    return fail(Errc::kInvalidArgument, "--keep-bytes 0: no finished result could be kept");
  MH_TRY(options.trainer, find_trainer(arguments.trainer));
  MH_TRY(options.sandbox, sandbox::parse_policy(arguments.sandbox));
  MH_TRY(options.memory_bytes_max, parse_byte_size(arguments.memory_bytes));
  options.nice_increment = arguments.nice_increment;
  options.is_idle_class = arguments.is_idle_class;
  MH_TRY(const ClientState state, load_state(options.folder));
  if (!state.is_attached())
    return fail(Errc::kFailedPrecondition,
                "the attachment to " + state.server +
                    " was not completed: run 'manyhands-client attach' again");
  MH_TRY_VOID(make_client_folders(options.folder));
  MH_TRY(const UniqueFd lock, lock_folder(options.folder));
  log_setup(arguments.log_format == "json" ? LogFormat::kJson : LogFormat::kText,
            arguments.is_verbose ? LogLevel::kDebug : LogLevel::kInfo);
  return run_daemon(options, state);
}

// What is known without a running daemon.
Json offline_status(const ClientFolder& folder) {
  Json json = {{"running", false}};
  const auto state = load_state(folder);
  const bool is_attached = state.has_value() && state->is_attached();
  json["attached"] = is_attached;
  json["sentence"] = is_attached         ? "not running: start it with 'manyhands-client run'"
                     : state.has_value() ? "the attachment was not completed"
                                         : state.error().message;
  if (!is_attached) return json;
  json["server"] = state->server;
  json["host_id"] = state->host.value();
  json["name"] = state->name;
  json["paused"] = state->is_paused;
  return json;
}

// A document of its own type: nlohmann's converts to and from everything.
struct Reply {
  Json json;
};

Result<Reply> ask(const ClientFolder& folder, const std::string& verb) {
  MH_TRY(const std::string reply, ask_daemon(folder.socket(), verb));
  Json json = Json::parse(reply, nullptr, false);
  if (!json.is_object() || !json.contains("ok"))
    return fail(Errc::kInternal, "the client gave an answer that is not understood");
  if (json["ok"] != true)
    return fail(Errc::kInternal, json.value("error", std::string("the client refused")));
  json.erase("ok");
  return Reply{std::move(json)};
}

Status run_status(const Arguments& arguments) {
  MH_TRY(const ClientFolder folder, find_client_folder(arguments.dir));
  auto status = ask(folder, "status");
  if (status.has_value()) {
    Json json = {{"running", true}};
    json.update(status->json);
    std::cout << (arguments.wants_json ? json.dump(2) + "\n" : status_text(json));
    return {};
  }
  if (status.error().code != Errc::kNotFound) return status.error();
  const Json json = offline_status(folder);
  if (arguments.wants_json) std::cout << json.dump(2) << "\n";
  return fail(Errc::kNotFound, json["sentence"].get<std::string>());
}

// A pause outlives the daemon, so it can also be set while none runs.
Status set_pause(const Arguments& arguments, bool is_paused) {
  MH_TRY(const ClientFolder folder, find_client_folder(arguments.dir));
  auto status = ask(folder, is_paused ? "pause" : "resume");
  if (!status.has_value()) {
    if (status.error().code != Errc::kNotFound) return status.error();
    MH_TRY(ClientState state, load_state(folder));
    state.is_paused = is_paused;
    MH_TRY_VOID(save_state(folder, state));
  }
  if (arguments.wants_json)
    std::cout << (status.has_value() ? status->json : offline_status(folder)).dump(2) << "\n";
  else
    std::cout << (is_paused ? "Paused" : "Resumed")
              << (status.has_value() ? ".\n" : "; no client is running at the moment.\n");
  return {};
}

Status run_pause(const Arguments& arguments) { return set_pause(arguments, true); }
Status run_resume(const Arguments& arguments) { return set_pause(arguments, false); }

Status run_finish(const Arguments& arguments) {
  MH_TRY(const ClientFolder folder, find_client_folder(arguments.dir));
  MH_TRY(const Reply reply, ask(folder, "finish"));
  if (arguments.wants_json)
    std::cout << reply.json.dump(2) << "\n";
  else
    std::cout << "The client takes no new work; it ends when what it has is finished.\n";
  return {};
}

// Waits until the daemon that was told to stop has let go of the folder.
Result<UniqueFd> wait_for_lock(const ClientFolder& folder) {
  constexpr int kTries = 150;
  for (int i = 0;; ++i) {
    auto lock = lock_folder(folder);
    if (lock.has_value() || lock.error().code != Errc::kAborted || i == kTries) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

Status run_detach(const Arguments& arguments) {
  MH_TRY(const ClientFolder folder, find_client_folder(arguments.dir));
  const auto state = load_state(folder);
  if (!state.has_value() && !(arguments.is_forced && state.error().code == Errc::kDataLoss))
    return state.error();
  if (const auto stopped = ask(folder, "stop");
      !stopped.has_value() && stopped.error().code != Errc::kNotFound)
    return stopped.error();
  MH_TRY(const UniqueFd lock, wait_for_lock(folder));
  MH_TRY_VOID(detach(folder, arguments.is_forced));
  if (const auto removed = remove_service(folder);
      !removed.has_value() && removed.error().code != Errc::kNotFound)
    return removed.error();
  std::cout << "Detached" << (state.has_value() ? " from " + state->server : "")
            << "; cache and state are removed.\n";
  return {};
}

// --- The table of verbs. ---

CLI::App* add_verb(CLI::App& app, Arguments& arguments, const char* name, const char* what,
                   const char* example) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->add_option("--dir", arguments.dir,
                   "Folder of this client [MANYHANDS_CLIENT_DIR, else "
                   "~/.local/share/manyhands-client]");
  verb->footer(std::string("Example:\n  ") + example +
               "\n\nExit codes: 0 done; 1 it failed or does not exist; 2 wrong usage or input;\n"
               "3 the server cannot be reached or does not allow it.");
  return verb;
}

void add_run_options(CLI::App& run, Arguments& arguments) {
  run.add_option("--device", arguments.device, "auto, cpu or cuda:N")
      ->capture_default_str()
      ->check(CLI::Validator(
          [](std::string& text) {
            const bool is_cuda = text.starts_with("cuda:") && text.size() > 5 && text.size() <= 8 &&
                                 text.find_first_not_of("0123456789", 5) == std::string::npos;
            return text == "auto" || text == "cpu" || is_cuda
                       ? std::string()
                       : "'" + text + "' is no device: auto, cpu or cuda:N";
          },
          "DEVICE"));
  run.add_option("--threads", arguments.threads, "Threads of the trainer; 0: one a processor")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  run.add_option("--cache-bytes", arguments.cache_bytes, "Most that the cache may take of the disk")
      ->capture_default_str();
  run.add_option("--keep-results", arguments.keep_results,
                 "Finished results that wait for the server: with so many no new work is taken")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  run.add_option("--keep-bytes", arguments.keep_bytes, "... or with so many bytes of them")
      ->capture_default_str();
  run.add_option("--keep-for", arguments.keep_for,
                 "A finished result that could not be delivered for so long is dropped")
      ->capture_default_str();
  run.add_option("--trainer", arguments.trainer,
                 "The trainer program [MANYHANDS_TRAINER, else manyhands-trainer beside this one]");
  run.add_option("--sandbox", arguments.sandbox,
                 "auto: all layers that this computer grants; require: all, or do not run; off; "
                 "or a list of layers that are required, as namespaces,seccomp")
      ->capture_default_str();
  run.add_option("--memory-bytes", arguments.memory_bytes,
                 "Most memory of the trainer; 0: three quarters of this computer's")
      ->capture_default_str();
  run.add_option("--nice", arguments.nice_increment, "Niceness of the trainer")
      ->capture_default_str()
      ->check(CLI::Range(0, 19));
  run.add_flag("--idle-class", arguments.is_idle_class,
               "Run the trainer only when nothing else wants the CPU");
  run.add_option("--log-format", arguments.log_format, "text or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));
  run.add_flag("--verbose", arguments.is_verbose, "Log more");
}

void add_verbs(CLI::App& app, Arguments& arguments, Verb& chosen) {
  CLI::App* attach_verb =
      add_verb(app, arguments, "attach", "Join a server with an invitation",
               "manyhands-client attach 'https://example.org:8470/#mhi_…@…' --name study");
  attach_verb
      ->add_option("url", arguments.url,
                   "What the admin gave you: https://HOST:PORT/#INVITATION@FINGERPRINT; - reads it "
                   "from standard input")
      ->required();
  attach_verb->add_option("--name", arguments.name,
                          "What the host is called; default: the machine");
  attach_verb->add_option(
      "--ca-file", arguments.authority_file,
      "PEM file of the authorities to trust instead of the system's, for a line "
      "without fingerprint");
  attach_verb->add_flag("--insecure-http", arguments.is_insecure_http,
                        "Use an http:// address beyond this machine: everything travels readable");
  attach_verb->add_flag("--yes", arguments.is_agreed, "Do not ask");
  attach_verb->add_flag("--service", arguments.wants_service,
                        "Then work unattended, as 'service install' does");
  attach_verb->callback([&chosen] { chosen = run_attach; });

  CLI::App* run = add_verb(app, arguments, "run", "Work until stopped (in the foreground)",
                           "manyhands-client run --device auto --threads 4 --cache-bytes 5GB");
  add_run_options(*run, arguments);
  run->callback([&chosen] { chosen = run_run; });

  const auto add_asking = [&](const char* name, const char* what, const char* example, Verb verb) {
    CLI::App* sub = add_verb(app, arguments, name, what, example);
    sub->add_flag("--json", arguments.wants_json, "Print JSON");
    sub->callback([&chosen, verb] { chosen = verb; });
  };
  add_asking("status", "What the client does, and why not more", "manyhands-client status --json",
             run_status);
  add_asking("pause", "Stop computing and give the work back, until resume (kept over restarts)",
             "manyhands-client pause", run_pause);
  add_asking("resume", "Go on after a pause", "manyhands-client resume", run_resume);
  add_asking("finish", "Finish the work at hand, take no more, then end", "manyhands-client finish",
             run_finish);

  CLI::App* detach_verb =
      add_verb(app, arguments, "detach", "Leave the server: stop, tell it, remove cache and state",
               "manyhands-client detach");
  detach_verb->add_flag("--force", arguments.is_forced,
                        "Forget the server even if it cannot be told");
  detach_verb->callback([&chosen] { chosen = run_detach; });
}

// Commands that a text advises are about this folder, too: 'manyhands-client run --dir D'.
std::string with_dir(std::string text, const std::string& dir) {
  constexpr std::string_view kStart = "'manyhands-client ";
  if (dir.empty()) return text;
  for (std::size_t at = text.find(kStart); at != std::string::npos; at = text.find(kStart, at)) {
    at = text.find('\'', at + kStart.size());
    if (at == std::string::npos) break;
    text.insert(at, " --dir " + dir);
    at += dir.size();
  }
  return text;
}

}  // namespace

int run_client(int argc, const char* const* argv) {
  CLI::App app("manyhands-client: train neural networks together, as a volunteer",
               "manyhands-client");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  manyhands-client attach 'https://example.org:8470/#INVITATION@FINGERPRINT'\n"
      "  manyhands-client run\n\nEvery command has --help.");
  Arguments arguments;
  Verb chosen = nullptr;
  add_verbs(app, arguments, chosen);
  const ServiceVerb service_verb(app, arguments.dir);
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  const Status status = service_verb.is_chosen() ? service_verb.run() : chosen(arguments);
  if (status.has_value()) return kExitDone;
  std::cerr << "manyhands-client: " << with_dir(status.error().message, arguments.dir) << "\n";
  return exit_code_of(status.error());
}

}  // namespace mh::client
