// The parts of a run of attack_bench: order of samples, defence, device classes.
#include <gtest/gtest.h>

#include <set>

#include "tests/bench/attack/defence.h"
#include "tests/bench/attack/device_class.h"
#include "tests/bench/attack/sample_order.h"
#include "tests/unit/attack/formula_learner.h"

namespace mh::attack {
namespace {

constexpr scheduler::StepShape kShape{40, 8};

TEST(AttackSampleOrder, IsTheJobsStreamOrShardsOfTwoClasses) {
  const FormulaLearner learner;
  const auto classes = learner.classes();
  SampleOrder iid(Distribution::kIid, 3, classes, kShape);
  scheduler::SampleStream stream(3, classes.size());
  EXPECT_EQ(iid.samples_of({50, 52}),
            (std::vector<std::uint64_t>{stream.sample_at(50), stream.sample_at(51)}));
  SampleOrder by_class(Distribution::kByClass, 3, classes, kShape);
  std::set<std::uint8_t> of_step;
  for (std::uint64_t shard = 0; shard < 5; ++shard) {
    std::set<std::uint8_t> of_shard;
    for (const std::uint64_t sample : by_class.samples_of(shard_range(kShape, 2, shard)))
      of_shard.insert(classes[sample]);
    EXPECT_EQ(of_shard.size(), 2U);
    of_step.insert(of_shard.begin(), of_shard.end());
  }
  EXPECT_EQ(of_step.size(), FormulaLearner::kClasses);
}

TEST(AttackDefence, IsNamedByItsParts) {
  const Defence checks = parse_defence("default", 4).value();
  EXPECT_TRUE(checks.has_checks);
  EXPECT_FALSE(checks.recipe);
  EXPECT_FALSE(parse_defence("none", 4).value().has_checks);
  const Defence both = parse_defence("default+nnm+trimmed_mean", 4).value();
  EXPECT_TRUE(both.has_checks);
  EXPECT_EQ(both.recipe->rule, robust::Rule::kTrimmedMean);
  EXPECT_EQ(both.recipe->pre, std::vector{robust::Pre::kNnm});
  EXPECT_EQ(both.recipe->f, 4U);
  EXPECT_FALSE(parse_defence("trimmed_mean", 4).value().has_checks);
  EXPECT_FALSE(parse_defence("default+bribe", 4));
}

TEST(AttackDefence, CountsAHostOnceHoweverManyShardsItComputed) {
  const Vector good = {1};
  const Vector bad = {-1000};
  std::vector<Contribution> contributions;
  for (std::uint64_t host = 1; host <= 4; ++host) contributions.push_back({HostId(host), good, 1});
  for (int shard = 0; shard < 6; ++shard) contributions.push_back({HostId(9), bad, 1});
  const Defence median = parse_defence("median", 1).value();
  EXPECT_EQ(combine(median, contributions).value(), Vector{1});
  EXPECT_LT(combine(parse_defence("none", 1).value(), contributions).value()[0], -500);
}

TEST(AttackDeviceClasses, DifferByWhatTheySay) {
  FormulaLearner learner;
  const Vector parameters(learner.plan().parameter_count);
  const std::vector<std::uint64_t> samples = {1, 2, 3};
  const Gradient exact = learner.gradient(parameters, samples, Labels::kTrue).value();
  for (const DeviceClass& device : device_classes()) {
    const Gradient once = as_computed_on(device, learner.plan(), exact, 5, 1);
    const Gradient again = as_computed_on(device, learner.plan(), exact, 5, 2);
    EXPECT_EQ(once.sum == again.sum, device.is_repeatable) << device.model;
    Vector difference = once.sum;
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= exact.sum[i];
    const double relative = update::l2_norm(difference) / update::l2_norm(exact.sum);
    EXPECT_NEAR(relative, device.relative_difference, 0.1 * device.relative_difference);
  }
}

}  // namespace
}  // namespace mh::attack
