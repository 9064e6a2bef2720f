// Runs to numbers: what an attack cost, by comparing its runs with those without attack; the table
// for people (Markdown) and the file for the plot (JSON). Pure but for print(). Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/attack/world.h"

namespace mh::attack {

struct Finished {
  std::string attack;
  Distribution distribution = Distribution::kIid;
  std::uint64_t seed = 0;
  Outcome outcome;
};

// Over the seeds of one attack and distribution.
struct Line {
  std::string attack;
  Distribution distribution = Distribution::kIid;
  double accuracy = 0;
  // Points of accuracy lost against no attack with the same seed: mean, and the worst seed.
  double lost = 0;
  double lost_worst = 0;
  // Share of the bad results handed in that went into a step; none: there were none.
  std::optional<double> bad_share;
  // Steps until an attacker was out: median over attackers; none: fewer than half were.
  std::optional<std::uint64_t> out_after;
  std::uint64_t out_count = 0;
  std::uint64_t attacker_count = 0;
  // Attackers' credit, over what the same hosts had in the runs without attack.
  double credit_share = 0;
  // The largest ratio of an attacker's credit to what its honest results are worth; an attacker
  // without either has 0, one that has credit and did nothing honest infinity.
  double credit_ratio_worst = 0;
  // Honest hosts limited or banned, over all seeds.
  std::uint64_t punished_count = 0;
  // Results handed in, over workunits.
  double work_factor = 0;
  std::uint64_t failed_count = 0;
};

// In the order of the attack table, iid first. Requires: the runs without attack are among them.
std::vector<Line> lines_of(const std::vector<Finished>& runs);
std::string markdown_of(const std::vector<Line>& lines);
std::string json_of(const std::string& defence, const std::vector<Line>& lines,
                    const std::vector<Finished>& runs);

}  // namespace mh::attack
