#include "tests/bench/attack/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace mh::attack {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPoints = 100;
// Credit is a sum of floating-point numbers.
constexpr double kNoCredit = 1e-9;

const Finished& without_attack(const std::vector<Finished>& runs, const Finished& run) {
  return *std::find_if(runs.begin(), runs.end(), [&](const Finished& other) {
    return other.attack == attack_table()[0].name && other.distribution == run.distribution &&
           other.seed == run.seed;
  });
}

double credit_ratio(const HostOutcome& host) {
  if (host.credit < kNoCredit) return 0;
  return host.honest_gflop > 0 ? host.credit / host.honest_gflop
                               : std::numeric_limits<double>::infinity();
}

// Adds up what the runs of one line have in common.
class Sum {
 public:
  void add(const Finished& run, const Finished& base) {
    const double lost = (base.outcome.accuracy - run.outcome.accuracy) * kPoints;
    accuracy_ += run.outcome.accuracy;
    lost_ += lost;
    worst_ = runs_ == 0 ? lost : std::max(worst_, lost);
    work_ += run.outcome.work_factor;
    failed_ += run.outcome.failure.empty() ? 0 : 1;
    runs_ += 1;
    for (std::size_t i = 0; i < run.outcome.hosts.size(); ++i)
      add(run.outcome.hosts[i], base.outcome.hosts[i]);
  }

  Line line(const Finished& of) const {
    const auto runs = static_cast<double>(runs_);
    Line line;
    line.attack = of.attack;
    line.distribution = of.distribution;
    line.accuracy = accuracy_ / runs;
    line.lost = lost_ / runs;
    line.lost_worst = worst_;
    if (bad_ > 0) line.bad_share = static_cast<double>(bad_counted_) / static_cast<double>(bad_);
    line.attacker_count = attackers_;
    line.out_count = out_.size();
    if (2 * out_.size() > attackers_) {
      std::vector<std::uint64_t> sorted = out_;
      std::sort(sorted.begin(), sorted.end());
      line.out_after = sorted[attackers_ / 2];
    }
    line.credit_share = base_credit_ > 0 ? credit_ / base_credit_ : 0;
    line.credit_ratio_worst = ratio_worst_;
    line.punished_count = punished_;
    line.work_factor = work_ / runs;
    line.failed_count = failed_;
    return line;
  }

 private:
  void add(const HostOutcome& host, const HostOutcome& base) {
    if (!host.is_attacker) {
      punished_ += host.out_at_step ? 1 : 0;
      return;
    }
    attackers_ += 1;
    bad_ += host.bad_count;
    bad_counted_ += host.bad_counted;
    if (host.out_at_step) out_.push_back(*host.out_at_step);
    credit_ += host.credit;
    base_credit_ += base.credit;
    ratio_worst_ = std::max(ratio_worst_, credit_ratio(host));
  }

  std::uint64_t runs_ = 0;
  std::uint64_t failed_ = 0;
  double accuracy_ = 0;
  double lost_ = 0;
  double worst_ = 0;
  double work_ = 0;
  std::uint64_t attackers_ = 0;
  std::uint64_t bad_ = 0;
  std::uint64_t bad_counted_ = 0;
  std::uint64_t punished_ = 0;
  std::vector<std::uint64_t> out_;
  double credit_ = 0;
  double base_credit_ = 0;
  double ratio_worst_ = 0;
};

std::string decimal(double value, int digits) {
  if (!std::isfinite(value)) return "∞";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string cells_of(const Line& line) {
  const bool has_attackers = line.attacker_count > 0;
  std::string text = " " + decimal(line.accuracy * kPoints, 1) + " | " + decimal(line.lost, 2) +
                     " (" + decimal(line.lost_worst, 2) + ") | ";
  text += (line.bad_share ? decimal(*line.bad_share * 100, 2) + " %" : "–") + std::string(" | ");
  text += line.out_after ? std::to_string(*line.out_after) : "–";
  if (has_attackers && line.out_count < line.attacker_count)
    text +=
        " (" + std::to_string(line.out_count) + " of " + std::to_string(line.attacker_count) + ")";
  text += " | " + (has_attackers ? decimal(line.credit_share, 3) : "–") + " | " +
          (has_attackers ? decimal(line.credit_ratio_worst, 2) : "–") + " | " +
          std::to_string(line.punished_count) + " | " + decimal(line.work_factor, 2) + " |";
  return text;
}

Json json_of(const Line& line) {
  Json json = {{"attack", line.attack},
               {"distribution", name_of(line.distribution)},
               {"accuracy", line.accuracy},
               {"lost_points", line.lost},
               {"lost_points_worst", line.lost_worst},
               {"out_count", line.out_count},
               {"attacker_count", line.attacker_count},
               {"credit_share", line.credit_share},
               {"punished_count", line.punished_count},
               {"work_factor", line.work_factor},
               {"failed_count", line.failed_count}};
  json["bad_share"] = line.bad_share ? Json(*line.bad_share) : Json();
  json["out_after"] = line.out_after ? Json(*line.out_after) : Json();
  const bool is_finite = std::isfinite(line.credit_ratio_worst);
  json["credit_ratio_worst"] = is_finite ? Json(line.credit_ratio_worst) : Json("infinite");
  return json;
}

Json json_of(const Finished& run) {
  Json json = {{"attack", run.attack},
               {"distribution", name_of(run.distribution)},
               {"seed", run.seed},
               {"accuracy", run.outcome.accuracy},
               {"steps_done", run.outcome.steps_done},
               {"failure", run.outcome.failure},
               {"work_factor", run.outcome.work_factor},
               {"virtual_seconds", run.outcome.virtual_seconds},
               {"hosts", Json::array()}};
  for (const HostOutcome& host : run.outcome.hosts) {
    Json one = {{"is_attacker", host.is_attacker},
                {"sent_count", host.sent_count},
                {"bad_count", host.bad_count},
                {"bad_counted", host.bad_counted},
                {"credit", host.credit},
                {"credit_held", host.credit_held},
                {"honest_gflop", host.honest_gflop},
                {"out_reason", host.out_reason},
                {"name_count", host.name_count}};
    one["out_at_step"] = host.out_at_step ? Json(*host.out_at_step) : Json();
    json["hosts"].push_back(one);
  }
  return json;
}

}  // namespace

std::vector<Line> lines_of(const std::vector<Finished>& runs) {
  std::vector<Line> lines;
  for (const Distribution distribution : {Distribution::kIid, Distribution::kByClass}) {
    for (const AttackKind& kind : attack_table()) {
      Sum sum;
      const Finished* last = nullptr;
      for (const Finished& run : runs) {
        if (run.attack != kind.name || run.distribution != distribution) continue;
        sum.add(run, without_attack(runs, run));
        last = &run;
      }
      if (last != nullptr) lines.push_back(sum.line(*last));
    }
  }
  return lines;
}

std::string markdown_of(const std::vector<Line>& lines) {
  std::string text =
      "| data | attack | accuracy, % | points lost, mean (worst seed) | bad updates that got in | "
      "steps until out | credit, of honest | credit / honest work, worst | honest punished | "
      "results a workunit |\n|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Line& line : lines)
    text += "| " + std::string(name_of(line.distribution)) + " | `" + line.attack + "` |" +
            cells_of(line) + "\n";
  return text;
}

std::string json_of(const std::string& defence, const std::vector<Line>& lines,
                    const std::vector<Finished>& runs) {
  Json json = {{"defence", defence}, {"lines", Json::array()}, {"runs", Json::array()}};
  for (const Line& line : lines) json["lines"].push_back(json_of(line));
  for (const Finished& run : runs) json["runs"].push_back(json_of(run));
  return json.dump(1) + "\n";
}

}  // namespace mh::attack
