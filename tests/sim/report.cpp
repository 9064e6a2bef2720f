#include "tests/sim/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "proto/base/options.h"
#include "proto/base/probe.h"

namespace mh::sim {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(std::uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

std::string fixed(double number, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::string duration(double seconds) {
  return format_duration(std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
}

// Names of the probes that no seed reached, with their places; sorted.
std::vector<std::string> unreached_probes() {
  std::vector<std::string> names;
  for (const Probe* probe : all_probes()) {
    if (probe->hit_count.load() > 0) continue;
    const std::string path = probe->file;
    const std::size_t folder = path.find_last_of('/');
    names.push_back(std::string(probe->name) + " (" +
                    (folder == std::string::npos ? path : path.substr(folder + 1)) + ":" +
                    std::to_string(probe->line) + ")");
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string failure_text(const Failure& failure, const std::string& replay, std::size_t log_lines) {
  std::string text = "FAILED with seed " + std::to_string(failure.seed) + "\n";
  text += "  invariant: " + failure.outcome.text + "\n";
  text += "  the smallest scenario that still breaks it:\n    " + replay + "\n";
  const std::vector<std::string>& trace = failure.outcome.trace;
  const std::size_t shown = std::min(log_lines, trace.size());
  text += "  the last of " + std::to_string(trace.size()) + " lines of its log:\n";
  for (std::size_t i = trace.size() - shown; i < trace.size(); ++i) text += trace[i] + "\n";
  return text;
}

Json counts_json(const WorldCounts& counts, const ServerCounts& server) {
  return {{"events", counts.events},
          {"exchanges", server.exchanges},
          {"decisions", server.decisions},
          {"commits", server.commits},
          {"crashes", server.crashes},
          {"steps", server.steps},
          {"client_starts", counts.client_starts},
          {"results_valid", counts.results_valid},
          {"results_wasted", counts.results_wasted},
          {"online_seconds", counts.online_seconds},
          {"computing_seconds", counts.computing_seconds},
          {"wasted_seconds", counts.wasted_seconds},
          {"backup_seconds", counts.backup_seconds},
          {"upload_bytes", counts.upload_bytes},
          {"download_bytes", counts.download_bytes}};
}

}  // namespace

std::string text_of(const RunReport& report, const std::string& replay, std::size_t log_lines) {
  std::string text;
  const WorldCounts& counts = report.counts;
  text += std::to_string(report.seeds_run) + " seeds, " + std::to_string(counts.events) +
          " events, " + duration(report.virtual_seconds) + " of virtual time; digest " +
          hex(report.digest) + "\n";
  text += std::to_string(report.server.exchanges) + " exchanges, " +
          std::to_string(report.server.commits) + " commits, " +
          std::to_string(report.server.crashes) + " crashes of the server, " +
          std::to_string(counts.client_starts) + " starts of clients\n";
  text += std::to_string(report.server.steps) + " steps, " + std::to_string(counts.results_valid) +
          " results valid, " + std::to_string(counts.results_wasted) + " wasted, " +
          std::to_string(report.jobs_finished) + " jobs finished\n";
  text += "hosts computed " +
          percent(counts.computing_seconds / std::max(1e-9, counts.online_seconds)) +
          " of the time they were on; of it was wasted " +
          percent(counts.wasted_seconds / std::max(1e-9, counts.computing_seconds)) + "\n";
  const std::vector<std::string> unreached = unreached_probes();
  text += "probes: " + std::to_string(all_probes().size() - unreached.size()) + " of " +
          std::to_string(all_probes().size()) + " reached\n";
  for (const std::string& name : unreached) text += "  not reached: " + name + "\n";
  if (report.failure) text += failure_text(*report.failure, replay, log_lines);
  return text;
}

std::string json_of(const RunReport& report, const std::string& replay, std::size_t log_lines) {
  Json json = {{"seeds", report.seeds_run},
               {"digest", hex(report.digest)},
               {"virtual_seconds", report.virtual_seconds},
               {"jobs_finished", report.jobs_finished},
               {"counts", counts_json(report.counts, report.server)},
               {"probes", all_probes().size()},
               {"unreached_probes", unreached_probes()}};
  if (report.failure) {
    const Outcome& outcome = report.failure->outcome;
    const std::size_t shown = std::min(log_lines, outcome.trace.size());
    json["failure"] = {
        {"seed", report.failure->seed},
        {"invariant", outcome.invariant},
        {"text", outcome.text},
        {"replay", replay},
        {"log", std::vector<std::string>(outcome.trace.end() - static_cast<std::ptrdiff_t>(shown),
                                         outcome.trace.end())}};
  }
  return json.dump(2) + "\n";
}

std::string text_of(const PlanReport& report) {
  std::string text = "job " + report.job_name + " on " + std::to_string(report.host_count) +
                     " hosts, " + std::to_string(report.steps_simulated) + " of " +
                     std::to_string(report.step_count) + " steps simulated\n";
  if (!report.assumption.empty()) text += "  assumed: " + report.assumption + "\n";
  const auto bytes = [](double count) {
    return format_byte_size(static_cast<std::uint64_t>(count));
  };
  text += "  a step: " + std::to_string(report.workunits_per_step) + " workunits of " +
          fixed(report.gflop_per_workunit, 3) + " GFLOP, updates of " +
          format_byte_size(report.update_bytes) + "\n";
  text += "  expected time: " + duration(report.expected_seconds) + " (" +
          duration(report.expected_seconds / static_cast<double>(report.step_count)) + " a step)\n";
  text += "  hosts compute " + percent(report.utilisation) + " of the time they are on\n";
  text += "  wasted of that: " + percent(report.waste) + " (by backup copies " +
          percent(report.backup_waste) + ")\n";
  text += "  moved: " + bytes(report.download_bytes) + " to hosts, " + bytes(report.upload_bytes) +
          " from hosts\n";
  if (report.outcome.has_failed()) text += "FAILED: " + report.outcome.text + "\n";
  return text;
}

std::string json_of(const PlanReport& report) {
  Json json = {{"job", report.job_name},
               {"hosts", report.host_count},
               {"steps", report.step_count},
               {"steps_simulated", report.steps_simulated},
               {"workunits_per_step", report.workunits_per_step},
               {"update_bytes", report.update_bytes},
               {"gflop_per_workunit", report.gflop_per_workunit},
               {"assumption", report.assumption},
               {"expected_seconds", report.expected_seconds},
               {"utilisation", report.utilisation},
               {"waste", report.waste},
               {"backup_waste", report.backup_waste},
               {"upload_bytes", report.upload_bytes},
               {"download_bytes", report.download_bytes},
               {"failure", report.outcome.text},
               {"counts", counts_json(report.outcome.counts, report.outcome.server)}};
  return json.dump(2) + "\n";
}

}  // namespace mh::sim
