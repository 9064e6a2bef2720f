// One run: a job, its hosts, some of which attack, and the real coordinator, in virtual time. The
// world does what the server's shell and the hosts do around it: it keeps the bytes of updates,
// screens them, aggregates, steps the optimizer. Everything that is decided (leases, checks,
// standing, credit) the coordinator decides. Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/bench/attack/adversary.h"
#include "tests/bench/attack/defence.h"
#include "tests/bench/attack/sample_order.h"

namespace mh::attack {

struct Scenario {
  const AttackKind* attack = nullptr;
  Defence defence;
  Distribution distribution = Distribution::kIid;
  std::uint64_t seed = 1;
  std::uint64_t step_count = 300;
  std::uint64_t batch = 320;
  std::uint64_t shard = 16;
  double learning_rate = 0.1;
  // Of these the first are trusted, the last attack.
  std::uint64_t host_count = 20;
  std::uint64_t trusted_count = 1;
  std::uint64_t attacker_count = 4;
  // CoordinatorOptions::reliable_hosts_min; 0: its default.
  std::uint64_t reliable_hosts_min = 0;
  // Hosts of all device classes in turn; else of one.
  bool has_mixed_devices = true;
};

// What became of one simulated machine, under all the names that it had.
struct HostOutcome {
  bool is_attacker = false;
  // Results handed in, those that were not what honest work gives, and those of them that went into
  // a step.
  std::uint64_t sent_count = 0;
  std::uint64_t bad_count = 0;
  std::uint64_t bad_counted = 0;
  // Granted, and held back (GFLOP).
  double credit = 0;
  double credit_held = 0;
  // Results that were compared with others', and those that were wrong.
  std::uint64_t checked_count = 0;
  std::uint64_t differed_count = 0;
  // What its honest results are worth, counted or not.
  double honest_gflop = 0;
  // The step at which it was first found limited or banned; and why.
  std::optional<std::uint64_t> out_at_step;
  std::string out_reason;
  // Names that it had.
  std::uint64_t name_count = 1;
};

struct Outcome {
  double accuracy = 0;
  std::uint64_t steps_done = 0;
  // Why the job did not end well; empty: it finished.
  std::string failure;
  // Results handed in by all, over the workunits of the steps done.
  double work_factor = 0;
  double virtual_seconds = 0;
  std::vector<HostOutcome> hosts;
};

// Errors: those of the learner.
Result<Outcome> run(const Scenario& scenario, Learner& learner);

}  // namespace mh::attack
