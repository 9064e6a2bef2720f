// Runs of attack_bench with a formula in the place of the engine.
#include "tests/bench/attack/world.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/attack/formula_learner.h"

namespace mh::attack {
namespace {

Scenario scenario_of(std::string_view attack, std::string_view defence) {
  Scenario scenario;
  scenario.attack = attack_named(attack).value();
  scenario.attacker_count = 2;
  scenario.host_count = 10;
  scenario.defence = parse_defence(defence, scenario.attacker_count).value();
  scenario.step_count = 100;
  scenario.learning_rate = 0.02;
  scenario.batch = 80;
  scenario.shard = 8;
  return scenario;
}

Outcome outcome_of(const Scenario& scenario) {
  FormulaLearner learner;
  auto outcome = run(scenario, learner);
  EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message);
  return *std::move(outcome);
}

std::uint64_t sum_of(const Outcome& outcome, std::uint64_t HostOutcome::*member) {
  std::uint64_t sum = 0;
  for (const HostOutcome& host : outcome.hosts) sum += host.*member;
  return sum;
}

TEST(AttackWorld, LearnsWhenAllAreHonest) {
  const Outcome outcome = outcome_of(scenario_of("none", "none"));
  EXPECT_EQ(outcome.failure, "");
  EXPECT_EQ(outcome.steps_done, 100U);
  EXPECT_GT(outcome.accuracy, 0.7);
  EXPECT_EQ(sum_of(outcome, &HostOutcome::bad_count), 0U);
}

TEST(AttackWorld, GivesTheSameRunTwice) {
  const Outcome once = outcome_of(scenario_of("bit_flips", "none"));
  const Outcome again = outcome_of(scenario_of("bit_flips", "none"));
  EXPECT_EQ(once.accuracy, again.accuracy);
  EXPECT_EQ(once.virtual_seconds, again.virtual_seconds);
}

TEST(AttackWorld, WithoutDefenceAttacksGetIn) {
  const Outcome outcome = outcome_of(scenario_of("ipm_10", "none"));
  EXPECT_GT(sum_of(outcome, &HostOutcome::bad_counted), 30U);
  EXPECT_LT(outcome.accuracy, 0.5);
}

TEST(AttackWorld, WhatIsNotFiniteIsRefusedInAnyCase) {
  for (const char* attack : {"nan", "inf"}) {
    const Outcome outcome = outcome_of(scenario_of(attack, "none"));
    EXPECT_GT(outcome.accuracy, 0.7) << attack;
    EXPECT_GT(sum_of(outcome, &HostOutcome::bad_count), 0U) << attack;
    EXPECT_EQ(sum_of(outcome, &HostOutcome::bad_counted), 0U) << attack;
  }
}

TEST(AttackWorld, ARobustRuleHoldsAgainstWhatSpoilsTheMean) {
  Scenario scenario = scenario_of("ipm_10", "nnm+trimmed_mean");
  EXPECT_GT(outcome_of(scenario).accuracy, 0.6);
  scenario.distribution = Distribution::kByClass;
  EXPECT_EQ(outcome_of(scenario).failure, "");
}

// Largest credit of an attacker over what its honest results are worth.
double worst_ratio(const Outcome& outcome) {
  double worst = 0;
  for (const HostOutcome& host : outcome.hosts) {
    if (!host.is_attacker || host.credit == 0) continue;
    worst = std::max(worst, host.honest_gflop > 0 ? host.credit / host.honest_gflop : 1e9);
  }
  return worst;
}

// All attackers were found, nobody else was, and their credit is for honest work.
void expect_found(const Outcome& outcome, const std::string& attack) {
  EXPECT_EQ(outcome.failure, "") << attack;
  EXPECT_GT(outcome.accuracy, 0.6) << attack;
  for (const HostOutcome& host : outcome.hosts) {
    EXPECT_EQ(host.out_at_step.has_value(), host.is_attacker) << attack << host.out_reason;
  }
  EXPECT_LE(worst_ratio(outcome), 1.05) << attack;
}

TEST(AttackWorld, DefaultChecksFindWhoCheatsAndPayThemNothing) {
  for (const char* attack : {"sign_flip", "wrong_shard", "stale_replay", "inflated"})
    expect_found(outcome_of(scenario_of(attack, "default")), attack);
}

// Who computes nothing is there first, and where newcomers may confirm each other the colluding
// ones do. One trusted host that has to be among those that agree ends that.
TEST(AttackWorld, QuickColludersAreFoundWhereOneReliableHostMustAgree) {
  for (const char* attack : {"zero", "averaged", "1e38", "gaussian"}) {
    Scenario scenario = scenario_of(attack, "default");
    scenario.reliable_hosts_min = 1;
    expect_found(outcome_of(scenario), attack);
  }
}

TEST(AttackWorld, WhoWasHonestFirstKeepsNoMoreThanThat) {
  const Outcome outcome = outcome_of(scenario_of("sleeper", "default"));
  EXPECT_GT(sum_of(outcome, &HostOutcome::bad_count), 0U);
  EXPECT_LE(worst_ratio(outcome), 1.05);
}

TEST(AttackWorld, NewNamesDoNotHelp) {
  const Outcome outcome = outcome_of(scenario_of("sybils", "default"));
  EXPECT_GT(sum_of(outcome, &HostOutcome::name_count), 12U);
  EXPECT_LE(worst_ratio(outcome), 1.05);
}

TEST(AttackWorld, HonestHostsOfAllDeviceClassesArePunishedNever) {
  Scenario scenario = scenario_of("none", "default");
  scenario.step_count = 300;
  const Outcome outcome = outcome_of(scenario);
  EXPECT_GT(sum_of(outcome, &HostOutcome::checked_count), 100U);
  EXPECT_EQ(sum_of(outcome, &HostOutcome::differed_count), 0U);
}

TEST(AttackWorld, EveryAttackOfTheTableRuns) {
  for (const AttackKind& kind : attack_table()) {
    const Outcome outcome = outcome_of(scenario_of(kind.name, "trimmed_mean"));
    EXPECT_GT(outcome.steps_done, 0U) << kind.name;
    EXPECT_EQ(outcome.hosts.size(), 10U);
  }
}

}  // namespace
}  // namespace mh::attack
