#include "tests/sim/commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "proto/base/build_info.h"
#include "proto/base/file.h"
#include "proto/base/options.h"
#include "proto/base/probe.h"
#include "tests/sim/plan.h"
#include "tests/sim/report.h"
#include "tests/sim/runner.h"

namespace mh::sim {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 all invariants held; 1 one broke (or the job cannot be done); 2 wrong usage or "
    "input.";
constexpr double kSecondsPerDay = 86'400;
constexpr std::uint64_t kScenarioBytesMax = 1'000'000;

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 1;
  std::string scenario;
  std::vector<std::string> without;
  std::vector<std::string> set;
  std::uint64_t hosts = 0;
  double days = 0;
  unsigned threads = 1;
  bool wants_json = false;
  std::size_t log_lines = 60;
  bool wants_scenario_help = false;
  std::string must_reach;
  PlanOptions plan;
};

Result<ScenarioFile> scenario_of(const Arguments& arguments, const std::string& usual) {
  ScenarioFile file = ScenarioFile::mix();
  const std::string name = arguments.scenario.empty() ? usual : arguments.scenario;
  if (name == "population") {
    file = ScenarioFile::population();
  } else if (name != "mix") {
    MH_TRY(const std::string text, read_file(name, kScenarioBytesMax));
    auto read = ScenarioFile::read(text);
    if (!read) return fail(Errc::kInvalidArgument, name + ": " + read.error().message);
    file = *std::move(read);
  }
  if (arguments.hosts > 0) {
    const auto hosts = static_cast<double>(arguments.hosts);
    MH_TRY_VOID(file.set("hosts.count", {hosts, hosts}));
  }
  if (arguments.days > 0) {
    const double seconds = arguments.days * kSecondsPerDay;
    MH_TRY_VOID(file.set("world.duration", {seconds, seconds}));
  }
  for (const std::string& setting : arguments.set) {
    const std::size_t equals = setting.find('=');
    double value = 0;
    if (equals == std::string::npos ||
        !CLI::detail::lexical_cast(setting.substr(equals + 1), value)) {
      return fail(Errc::kInvalidArgument, "--set " + setting + ": must be GROUP.NAME=NUMBER");
    }
    MH_TRY_VOID(file.set(setting.substr(0, equals), {value, value}));
  }
  return file;
}

Result<RunOptions> run_options(const Arguments& arguments) {
  RunOptions options;
  // Days and crowds of hosts are a population, single seeds a mix of faults.
  const bool is_large = arguments.days > 0;
  MH_TRY(options.scenario, scenario_of(arguments, is_large ? "population" : "mix"));
  for (const std::string& name : arguments.without) {
    const auto kind = fault_from_name(name);
    if (!kind) {
      std::string known;
      for (const FaultKind one : all_faults()) {
        known += (known.empty() ? "" : ", ") + std::string(fault_name(one));
      }
      return fail(Errc::kInvalidArgument, "--without " + name + ": known are " + known);
    }
    options.without.insert(*kind);
  }
  options.first_seed = arguments.seed;
  options.seed_count = arguments.seeds;
  options.threads = std::max(1U, arguments.threads);
  return options;
}

std::string replay_command(const Arguments& arguments, const Failure& failure) {
  std::string command = "manyhands-sim run --seed " + std::to_string(failure.seed);
  if (!arguments.scenario.empty()) command += " --scenario " + arguments.scenario;
  if (arguments.days > 0) command += " --days " + CLI::detail::to_string(arguments.days);
  for (const std::string& setting : arguments.set) command += " --set " + setting;
  std::string without;
  for (const FaultKind kind : failure.without) {
    without += (without.empty() ? "" : ",") + std::string(fault_name(kind));
  }
  if (!without.empty()) command += " --without " + without;
  if (failure.hosts) {
    command += " --hosts " + std::to_string(*failure.hosts);
  } else if (arguments.hosts > 0) {
    command += " --hosts " + std::to_string(arguments.hosts);
  }
  return command;
}

// Probes that must be reached: one name a line; what is after # is a remark.
Result<std::vector<std::string>> missing_probes(const std::string& path) {
  std::vector<std::string> missing;
  if (path.empty()) return missing;
  MH_TRY(const std::string text, read_file(path, kScenarioBytesMax));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line = line.substr(0, line.find('#'));
    line = CLI::detail::trim_copy(line);
    if (line.empty()) continue;
    const auto probes = all_probes();
    const bool is_reached = std::any_of(probes.begin(), probes.end(), [&](const Probe* probe) {
      return probe->name == line && probe->hit_count.load() > 0;
    });
    if (!is_reached) missing.push_back(line);
  }
  return missing;
}

Result<int> run_run(const Arguments& arguments) {
  if (arguments.wants_scenario_help) {
    std::cout << scenario_help();
    return kExitDone;
  }
  MH_TRY(const RunOptions options, run_options(arguments));
  RunReport report = run_seeds(options);
  std::string replay;
  if (report.failure) {
    report.failure = shrink(options, *report.failure);
    replay = replay_command(arguments, *report.failure);
  }
  std::cout << (arguments.wants_json ? json_of(report, replay, arguments.log_lines)
                                     : text_of(report, replay, arguments.log_lines));
  if (report.failure) return kExitFailed;
  MH_TRY(const std::vector<std::string> missing, missing_probes(arguments.must_reach));
  for (const std::string& name : missing) {
    std::cout << "no seed reached the probe \"" << name << "\", which must be reached\n";
  }
  return missing.empty() ? kExitDone : kExitFailed;
}

Result<int> run_plan(const Arguments& arguments) {
  Arguments with_hosts = arguments;
  MH_TRY(ScenarioFile scenario, scenario_of(with_hosts, "population"));
  MH_TRY(const PlanReport report, plan(arguments.plan, scenario, arguments.seed));
  std::cout << (arguments.wants_json ? json_of(report) : text_of(report));
  return report.outcome.has_failed() ? kExitFailed : kExitDone;
}

void add_world_options(CLI::App& verb, Arguments& arguments) {
  verb.add_option("--seed", arguments.seed, "The seed: everything follows from it")
      ->capture_default_str();
  verb.add_option("--scenario", arguments.scenario,
                  "mix, population, or a YAML file of the groups that --list-scenario prints");
  verb.add_option("--set", arguments.set, "One number of the scenario: hosts.always_on=0.5")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb.add_option("--hosts", arguments.hosts, "Number of hosts");
  verb.add_flag("--json", arguments.wants_json, "Print JSON for scripts");
}

void add_run(CLI::App& app, Arguments& arguments) {
  CLI::App* verb = app.add_subcommand("run", "Runs seeds and checks the invariants of each");
  add_world_options(*verb, arguments);
  verb->add_option("--seeds", arguments.seeds, "How many seeds, from --seed on")
      ->capture_default_str();
  verb->add_option("--days", arguments.days,
                   "Virtual days; the scenario is then `population` unless --scenario says else");
  verb->add_option("--without", arguments.without, "Kinds of faults to leave out, by commas")
      ->delimiter(',');
  verb->add_option("--threads", arguments.threads, "Seeds that run at once")->capture_default_str();
  verb->add_option("--must-reach", arguments.must_reach,
                   "File with the names of code probes that the seeds must reach");
  verb->add_option("--log", arguments.log_lines, "Lines of a failure's log to print")
      ->capture_default_str();
  verb->add_flag("--list-scenario", arguments.wants_scenario_help,
                 "Print every number of a scenario: range in the mix, value in a population");
  verb->footer(std::string("Examples:\n"
                           "  manyhands-sim run --seeds 1000 --threads 2\n"
                           "  manyhands-sim run --seed 17 --without crash,loss\n"
                           "  manyhands-sim run --hosts 100000 --days 1\n\n") +
               kExitCodes);
}

void add_plan(CLI::App& app, Arguments& arguments) {
  CLI::App* verb = app.add_subcommand("plan", "Says how long a job would take, and what it moves");
  add_world_options(*verb, arguments);
  PlanOptions& plan = arguments.plan;
  verb->add_option("--job", plan.job_file, "The job file")->required();
  verb->add_option("--manifest", plan.manifest_file,
                   "The data set's manifest; else 60,000 + 10,000 grey images of 28×28 in ten "
                   "classes are assumed");
  verb->add_option("--steps", plan.step_count_max,
                   "Steps to simulate; the rest is taken to go on like these")
      ->capture_default_str();
  verb->footer(std::string("Example:\n  manyhands-sim plan --hosts 1000 --job job.yaml\n\n") +
               kExitCodes);
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  CLI::App app("manyhands-sim: the real scheduler and client core in virtual time",
               "manyhands-sim");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(std::string("Examples:\n  manyhands-sim run --seeds 1000\n  manyhands-sim plan "
                         "--hosts 1000 --job job.yaml\n\n") +
             kExitCodes);
  Arguments arguments;
  add_run(app, arguments);
  add_plan(app, arguments);
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  const Result<int> outcome = app.got_subcommand("run") ? run_run(arguments) : run_plan(arguments);
  std::cout.flush();
  if (outcome.has_value()) return *outcome;
  std::cerr << "manyhands-sim: " << outcome.error().message << std::endl;
  return exit_code_of(outcome.error()) == kExitUsage ? kExitUsage : kExitFailed;
}

}  // namespace mh::sim
