// `manyhands-sim plan`: a real job file, read and planned as the server does, on a population of
// simulated hosts: how long will it take, how busy are the hosts, what is wasted, what is moved?
// Flow: job file -> scheduler/job_spec -> job_facts -> World -> PlanReport. No threads.
#pragma once

#include <cstdint>
#include <string>

#include "proto/base/result.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace mh::sim {

struct PlanOptions {
  std::string job_file;
  // Empty: a data set is assumed (PlanReport::assumption).
  std::string manifest_file;
  std::uint64_t step_count_max = 200;
};

struct PlanReport {
  std::string job_name;
  // What was taken for granted; empty: nothing.
  std::string assumption;
  std::uint64_t host_count = 0;
  std::uint64_t step_count = 0;
  std::uint64_t steps_simulated = 0;
  std::uint64_t workunits_per_step = 0;
  std::uint64_t update_bytes = 0;
  double gflop_per_workunit = 0;
  // For the whole job.
  double expected_seconds = 0;
  double upload_bytes = 0;
  double download_bytes = 0;
  // Shares of the time that hosts were on, and of the time that they computed.
  double utilisation = 0;
  double waste = 0;
  double backup_waste = 0;
  Outcome outcome;
};

// Errors: kInvalidArgument (job file or manifest, with lines), kNotFound (no such file).
Result<PlanReport> plan(const PlanOptions& options, ScenarioFile scenario, std::uint64_t seed);

}  // namespace mh::sim
