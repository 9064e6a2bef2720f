// What a simulated world is like: hosts, links, jobs, options, and the faults that it suffers.
//
// Flow: YAML text (or a built-in base) -> ScenarioFile: a range for every number -> draw(seed) ->
// Scenario: one number each -> World. Shares and probabilities are from 0 to 1, times in seconds
// unless the name says otherwise. One table (scenario_table.cpp) lists every number with its
// limits, its range in the default mix and its value for a day of a real population. Pure; no
// threads.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"

namespace mh::sim {

// Kinds of fault that can be switched off as a whole (`--without`), by the seed and when shrinking.
enum class FaultKind : std::uint8_t {
  kNone,
  // Hosts go and come, some for good; many at once; leases are abandoned.
  kChurn,
  // Wrong numbers, bad hosts.
  kWrong,
  // Hosts that break the protocol: name nothing, report what is not theirs, repeat themselves.
  kHostile,
  kLoss,
  kDelay,
  kDuplicate,
  kPartition,
  kCrash,
  kDisk,
  kClock,
  kTrainer,
  // The admin pauses, cancels, trusts and distrusts.
  kAdmin,
};

std::string_view fault_name(FaultKind kind);
std::optional<FaultKind> fault_from_name(std::string_view name);
// All but kNone.
std::vector<FaultKind> all_faults();

struct Scenario {
  // world
  double duration = 60;      // faults end then
  double day = 60;           // length of a day
  double is_endless = 0;     // 1: stops at `duration`; 0: goes on until all jobs have ended
  double keeps_history = 1;  // 0: forgets rows of finished steps
  // hosts
  double host_count = 6;
  double always_on = 0.3;
  double session = 0.125;    // mean session of the others, in days
  double speed_gflops = 20;  // median of fast hosts
  double speed_sigma = 1.2;
  double slow_share = 0.5;
  double slow_factor = 20;  // how much slower the slow ones are
  double up_mbits = 10;     // median; down-links have five times that
  double link_sigma = 1;
  double latency_ms = 40;
  double trusted_share = 0.3;
  double queue_length = 2;
  double poll_wait = 25;
  double crowd = 1;  // the hosts of the start become so many times as many
  // churn
  double abandoned = 0;      // share of leases that never return
  double dropout_share = 0;  // of the hosts that are on, at once
  double dropout_every = 0;
  double leave = 0;      // share of sessions that end with a detach
  double power_cut = 0;  // share of sessions that end without a goodbye
  // wrong
  double wrong = 0;         // share of results with wrong numbers
  double wrong_seen = 0.5;  // of those, found by screening
  double bad_share = 0;     // hosts whose every result is wrong
  // hostile
  double forgetful_share = 0;  // hosts that never name what they hold
  double impostor_share = 0;   // hosts that report results of others
  double repeater_share = 0;   // hosts that repeat old reports
  // network
  double loss = 0;
  double delay_ms = 0;  // mean of an extra delay, drawn for each message: reorders
  double duplicate = 0;
  double partition_every = 0;
  double partition_length = 0;
  double partition_share = 0;
  // server
  double crash_every = 0;
  double crash_at_commit = 0;
  double torn = 0;  // share of crashes that lose what was being written
  double down_time = 1;
  double commit_ms = 3;
  double screen_ms = 1;
  double aggregation_ms = 20;
  double disk_full_every = 0;
  double disk_full_length = 0;
  // clock
  double drift = 0;  // largest rate error of a host's clock
  double jump_every = 0;
  double jump = 0;  // typical size, either way
  // trainer
  double trainer_start = 1;
  double trainer_crash = 0;  // per workunit
  double trainer_failure = 0;
  double noise = 0.1;  // spread of computing times
  // admin
  double admin_every = 0;
  double cancel = 0;  // share of the admin's acts that cancel a job
  // jobs
  double job_count = 1;
  double steps = 3;
  double workunits = 4;         // of a step
  double workunit_seconds = 1;  // on a fast host of median speed
  double parameters_kb = 100;
  double evaluation_every = 0;
  double evaluation_workunits = 0;
  double validation = 0;  // 0: none, 1: adaptive, 2: all
  double chunk_count = 2;
  double chunk_kb = 100;
  // options of the coordinator
  double quota_start = 4;
  double quota_max = 16;
  double copies_max = 4;
  double lease_min = 5;
  double lease_unknown = 30;
  double lease_age_min = 600;
  double resend_after = 1;
  double own_copy_wait = 1;
  double evaluations_pending = 8;
  double checkpoints_kept = 3;
  double checkpoint_every = 0;
  double ended_kept = 64;  // ended results remembered for each host
  double failed_hosts = 5;
  double failures = 8;
  double record_after = 10;
};

struct Range {
  double low = 0;
  double high = 0;
};

// A scenario before a seed has chosen.
class ScenarioFile {
 public:
  // The default mix: every number within its range, each kind of fault in about half of the seeds.
  static ScenarioFile mix();
  // One day of volunteers as BOINC's studies found them (boinc.md §2.4), at true scale.
  static ScenarioFile population();

  // Reads a scenario file: groups of numbers, each plain or [low, high]; `base: mix` or
  // `base: population` says where the others come from.
  // Errors: kInvalidArgument with the line, what was found and what is allowed.
  static Result<ScenarioFile> read(std::string_view yaml);

  // Sets one number, by "group.name". Errors: kInvalidArgument.
  Status set(std::string_view name, Range range);

  // The scenario of a seed, with some kinds of faults switched off.
  Scenario draw(std::uint64_t seed, const std::set<FaultKind>& without) const;

 private:
  explicit ScenarioFile(bool is_mix);

  // One for each number of the table.
  std::vector<Range> ranges_;
  // Whether the seed decides which kinds of fault there are.
  bool is_mix_;
};

// The table for people: every number, its limits, defaults and meaning.
std::string scenario_help();

}  // namespace mh::sim
