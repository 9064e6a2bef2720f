// When results agree, and what honest pairs teach (scheduler/agreement.h).
#include "scheduler/agreement.h"

#include <gtest/gtest.h>

#include <limits>

namespace mh::scheduler {
namespace {

ResultRow result(const std::string& update, double loss = 10, std::uint64_t correct = 50) {
  ResultRow row;
  row.update_digest = sha256(std::string_view(update));
  row.loss_sum = loss;
  row.correct_count = correct;
  return row;
}

const std::string kCpu = "cpu/A";
const std::string kGpu = "cuda/B";

TEST(Tolerance, IsBitsWithinOneClassOfCpusAndTheLimitOtherwise) {
  const ValidationPolicy policy = kUsualValidation;
  EXPECT_EQ(tolerance_of(policy, kCpu, kCpu, nullptr).relative_l2, 0);
  EXPECT_EQ(tolerance_of(policy, kCpu, "cpu/B", nullptr).relative_l2, policy.relative_l2_max);
  EXPECT_EQ(tolerance_of(policy, kGpu, kGpu, nullptr).relative_l2, policy.relative_l2_max)
      << "two runs on one kind of GPU may differ";
  ValidationPolicy homogeneous = policy;
  homogeneous.is_homogeneous = true;
  EXPECT_EQ(tolerance_of(homogeneous, kGpu, kGpu, nullptr).relative_l2, 0);
}

TEST(Tolerance, FollowsWhatHonestPairsShowOnceThereAreEnough) {
  const ValidationPolicy policy = kUsualValidation;
  Agreement agreement;
  for (std::uint64_t i = 0; i + 1 < kLearnedPairsMin; ++i) agreement.add({3e-6, 1e-11});
  EXPECT_EQ(tolerance_of(policy, kCpu, kGpu, &agreement).relative_l2, policy.relative_l2_max);
  agreement.add({3e-6, 1e-11});
  const double learned = tolerance_of(policy, kCpu, kGpu, &agreement).relative_l2;
  EXPECT_GT(learned, 3e-5);
  EXPECT_LT(learned, 1e-4);
}

TEST(Tolerance, NeverExceedsThePolicyWhateverPairsShow) {
  Agreement agreement;
  for (int i = 0; i < 100; ++i) agreement.add({0.019, 1e-4});
  EXPECT_EQ(tolerance_of(kUsualValidation, kCpu, kGpu, &agreement).relative_l2,
            kUsualValidation.relative_l2_max);
}

TEST(Agreement, ComesBackFromItsRowAsItWas) {
  Agreement agreement;
  agreement.add({});
  agreement.add({1e-3, 1e-6});
  agreement.add({2e-5, 1e-9});
  const Agreement again(agreement.row());
  EXPECT_EQ(again.row(), agreement.row());
  EXPECT_EQ(again.relative_l2_p99(), agreement.relative_l2_p99());
  EXPECT_EQ(again.row().pair_count, 3u);
  EXPECT_EQ(again.row().equal_count, 1u);
  EXPECT_EQ(again.row().relative_l2_most, 1e-3);
}

TEST(Agreement, TakesADamagedHistogramAsEmpty) {
  for (const char* damaged : {"x", "1:", ":", "1:2 x", "900:1", "1:2  3:4"}) {
    AgreementRow row;
    row.pair_count = 100;
    row.histogram = damaged;
    EXPECT_EQ(Agreement(row).relative_l2_p99(), 0) << damaged;
  }
}

TEST(Agreement, IgnoresOneOutlierInAHundred) {
  Agreement agreement;
  for (int i = 0; i < 199; ++i) agreement.add({1e-6, 0});
  agreement.add({1e-2, 0});
  EXPECT_LT(agreement.relative_l2_p99(), 1e-5);
}

TEST(ResultsAgree, OnEqualBitsAndEqualClaimsOnly) {
  const Tolerance bits;
  EXPECT_TRUE(results_agree(result("a"), result("a"), 100, {}, bits));
  EXPECT_FALSE(results_agree(result("a"), result("b"), 100, {1e-9, 0}, bits));
  EXPECT_FALSE(results_agree(result("a"), result("a", 11), 100, {}, bits)) << "another loss";
  EXPECT_FALSE(results_agree(result("a"), result("a", 10, 51), 100, {}, bits)) << "another count";
}

TEST(ResultsAgree, WithinADistanceAndNearlyEqualClaims) {
  const Tolerance near{1e-3, 1e-5};
  EXPECT_TRUE(results_agree(result("a"), result("b", 10.005, 51), 100, {1e-3, 1e-6}, near));
  EXPECT_FALSE(results_agree(result("a"), result("b"), 100, {1.1e-3, 1e-6}, near));
  EXPECT_FALSE(results_agree(result("a"), result("b"), 100, {1e-3, 2e-5}, near));
  EXPECT_FALSE(results_agree(result("a"), result("b", 10.2), 100, {1e-4, 0}, near));
  EXPECT_FALSE(results_agree(result("a"), result("b", 10, 53), 100, {1e-4, 0}, near));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(results_agree(result("a"), result("b"), 100, {nan, 0}, near));
}

TEST(DeviceClass, IsTheKindOfDeviceAndItsModel) {
  HostDescription description;
  description.device = "cuda:1";
  description.device_model = "H100";
  EXPECT_EQ(device_class(description), "cuda/H100");
  EXPECT_EQ(device_class({}), "cpu/");
}

}  // namespace
}  // namespace mh::scheduler
