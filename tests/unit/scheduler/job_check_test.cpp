// Jobs against their data sets, and the estimates of `manyhands job check`.
#include "scheduler/job_check.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "job_spec_fixture.h"
#include "trainer/update/tensor_pack.h"

namespace mh::scheduler {
namespace {

CheckedJob check(std::string_view text, const DatasetManifest& manifest = made_up_manifest()) {
  const ParsedJob job = parse_job(text);
  EXPECT_TRUE(job.spec.has_value()) << all_text(job.problems);
  if (!job.spec) return {};
  return check_against(*job.spec, manifest, digest_of(manifest), job.places);
}

void expect_problem(const CheckedJob& checked, std::string_view expected) {
  EXPECT_EQ(all_text(checked.problems), std::string(expected) + "\n");
  EXPECT_FALSE(checked.plan.has_value());
}

TEST(JobCheck, FitsAGoodJobToItsDataSet) {
  const CheckedJob checked = check(with_line(5, "training: {passes: 3}"));
  ASSERT_TRUE(checked.plan.has_value()) << all_text(checked.problems);
  EXPECT_EQ(checked.plan->parameter_count, 80'202U);
  EXPECT_EQ(checked.train_sample_count, 60'000U);
  EXPECT_EQ(checked.step_count, 1'407U);
  EXPECT_EQ(checked.workunits_per_step, 4U);
}

TEST(JobCheck, NamesTheLayerThatDoesNotFitWithItsShapes) {
  expect_problem(check(with_line(3,
                                 "model:\n  layers:\n    - flatten\n    - conv2d: {out: 4, "
                                 "kernel: 3}\n    - linear")),
                 "6:7: model.layers[1]: layer 1 (conv2d): conv2d needs an image of shape "
                 "channels×height×width or height×width, the input is 784");
  expect_problem(
      check(with_line(3,
                      "model: {layers: [{conv2d: {out: 4, kernel: 29}}, flatten, "
                      "linear]}")),
      "3:36: model.layers[0].kernel: layer 0 (conv2d): kernel is 29, which with padding "
      "0 and dilation 1 does not fit the input of 1×28×28; take a smaller kernel or more "
      "padding");
  expect_problem(check(with_line(3, "model: {layers: [linear]}")),
                 "3:18: model.layers[0]: layer 0 (linear): the model's output is 28×10, but "
                 "cross_entropy on this data set needs 10; flatten before the last linear layer");
  expect_problem(check(with_line(3, "model: {layers: [flatten, {linear: {out: 9}}]}")),
                 "3:28: model.layers[1]: layer 1 (linear): the model's output is 9, but "
                 "cross_entropy on this data set needs 10; end with a linear layer without `out`, "
                 "which takes the right size");
}

TEST(JobCheck, PointsAtThePresetForALayerOfIt) {
  DataShape shape;
  shape.input.shape = {8, 8};
  const CheckedJob checked = check(kGoodJob, made_up_manifest(shape));
  ASSERT_EQ(checked.problems.size(), 1U);
  EXPECT_EQ(checked.problems[0].line, 3U);
  EXPECT_NE(checked.problems[0].message.find("layer 3 (conv2d): kernel is 5"), std::string::npos)
      << checked.problems[0].message;
}

TEST(JobCheck, WantsClassesForCrossEntropy) {
  DataShape shape;
  shape.target = {DataType::kF32, {}};
  shape.class_count = 0;
  const DatasetManifest manifest = made_up_manifest(shape);
  expect_problem(check(kGoodJob, manifest),
                 "4:1: loss: is cross_entropy, which needs class numbers as targets; those of data "
                 "set 'fashion-mnist' are f32 numbers; take mse, or import the targets as classes");
  EXPECT_TRUE(check(with_line(4, "loss: mse"), manifest).plan.has_value());
}

TEST(JobCheck, ComparesABatchWithTheSamples) {
  DataShape shape;
  shape.train_count = 100;
  expect_problem(
      check(kGoodJob, made_up_manifest(shape)),
      "5:23: training.batch: is 128, but the split train of data set 'fashion-mnist' has "
      "only 100 samples; a step may use each sample at most once");
}

TEST(JobCheck, ComparesSchedulesAndStepsWithTheirLimits) {
  expect_problem(check(with_line(7, "schedule: {kind: cosine, warmup_steps: 41}")),
                 "7:26: schedule.warmup_steps: is 41, but the job has only 40 steps");
  expect_problem(check(with_line(5, "training: {passes: 1e6, batch: 1}")),
                 "5:12: training.passes: is 1e+06, which makes 60,000,000,000 steps; at most "
                 "100,000,000");
}

TEST(JobCheck, WantsTheSplitOfTheEvaluation) {
  DataShape shape;
  shape.test_count = 0;
  expect_problem(check(kGoodJob, made_up_manifest(shape)),
                 "9:14: evaluation.split: is 'test', which data set 'fashion-mnist' does not have; "
                 "it has train");
  shape.test_count = 70'000;
  expect_problem(check(with_line(9, "evaluation: {shard: 1}"), made_up_manifest(shape)),
                 "9:14: evaluation.shard: is 1, which cuts the 70,000 samples of test into 70,000 "
                 "workunits; at most 65,536, so make it larger");
}

TEST(JobCheck, RefusesOtherDataThanTheJobWasMadeFor) {
  const DatasetManifest manifest = made_up_manifest();
  const std::string right = "manifest: " + digest_of(manifest).hex();
  EXPECT_TRUE(check(with_more(right), manifest).plan.has_value());
  const CheckedJob checked = check(with_more("manifest: " + std::string(64, 'a')), manifest);
  ASSERT_EQ(checked.problems.size(), 1U);
  EXPECT_EQ(checked.problems[0].path, "manifest");
  EXPECT_EQ(checked.problems[0].line, 10U);
}

TEST(JobCheck, NamesTheNearestDataSet) {
  const ParsedJob job = parse_job(kGoodJob);
  const std::vector<std::string> known = {"digits", "fashion_mnist"};
  EXPECT_EQ(problem_text(unknown_dataset(*job.spec, known, job.places)),
            "2:1: dataset: is 'fashion-mnist', which this server does not have; did you mean "
            "'fashion_mnist'?");
  EXPECT_EQ(problem_text(unknown_dataset(*job.spec, std::vector<std::string>{"a", "b"}, {})),
            "dataset: is 'fashion-mnist', which this server does not have; it has a, b");
  EXPECT_NE(unknown_dataset(*job.spec, {}, {}).message.find("no data set at all"),
            std::string::npos);
  const std::vector<std::string> many(3'000, "z");
  EXPECT_NE(unknown_dataset(*job.spec, many, {}).message.find("and 2,980 more"), std::string::npos);
}

TEST(JobReport, HasTheLayerTableAndTheSizes) {
  const JobReport report = job_report(parsed(with_line(5, "training: {passes: 3}")),
                                      check(with_line(5, "training: {passes: 3}")));
  ASSERT_EQ(report.layers.size(), 10U);
  EXPECT_EQ(report.layers[0].description, "conv2d 1→16 5×5");
  EXPECT_EQ(report.layers[0].output_shape, (model::Shape{16, 24, 24}));
  EXPECT_EQ(report.layers[0].parameter_count, 416U);
  EXPECT_EQ(report.layers[9].description, "linear 128→10");
  EXPECT_EQ(report.parameter_count, 80'202U);
  EXPECT_EQ(report.update_bytes, update::update_size(80'202));
  EXPECT_EQ(report.samples_per_step, 128U);
  EXPECT_EQ(report.workunits_per_step, 4U);
  EXPECT_EQ(report.step_count, 1'407U);
  EXPECT_NEAR(report.pass_count, 3.0016, 1e-9);
  double forward = 0;
  for (const LayerReport& layer : report.layers) forward += layer.forward_flops;
  EXPECT_EQ(report.flops_per_sample, 3 * forward);
}

TEST(JobReport, EstimatesTheTimeOfOneTenAndAHundredVolunteers) {
  JobReport report;
  report.update_bytes = 1'000'000;
  report.workunits_per_step = 15;
  report.step_count = 100;
  report.flops_per_sample = 1e9;
  const VolunteerSpeed speed = {10, 80, 40};
  // Download 0.1 s, compute 0.8 s and upload 0.2 s a workunit, latency 5 ms.
  EXPECT_NEAR(estimate_time(report, 8, 1, speed).seconds, 100 * (0.1 + 15 * 1.0 + 0.005), 1e-6);
  EXPECT_NEAR(estimate_time(report, 8, 10, speed).seconds, 100 * (0.1 + 2 * 1.0 + 0.005), 1e-6);
  EXPECT_NEAR(estimate_time(report, 8, 100, speed).seconds, 100 * (0.1 + 1.0 + 0.005), 1e-6);
  EXPECT_EQ(estimate_time(report, 8, 10, speed).limited_by, "compute");
  EXPECT_EQ(estimate_time(report, 1, 10, speed).limited_by, "upload");
  EXPECT_EQ(estimate_time(report, 1, 100, {1e9, 1, 1e9}).limited_by, "download");
  EXPECT_EQ(estimate_time(report, 1, 100, {1e9, 1e9, 1e9}).limited_by, "step latency");
}

TEST(JobReport, TakesDefaultsForSpeedsThatAreNone) {
  const JobSpec spec = parsed(kGoodJob);
  const CheckedJob checked = check(kGoodJob);
  const JobReport usual = job_report(spec, checked);
  const JobReport none =
      job_report(spec, checked, {0, -1, std::numeric_limits<double>::quiet_NaN()});
  ASSERT_EQ(usual.estimates.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(usual.estimates[i].seconds, none.estimates[i].seconds);
  }
  EXPECT_EQ(usual.estimates[2].volunteer_count, 100U);
}

TEST(EstimateChecks, CountsNewcomersAndTheShareOfLater) {
  const ChecksReport usual = estimate_checks(kUsualValidation);
  // Ten, then 1/10 + ... + 1/19, then a twentieth of 980.
  EXPECT_NEAR(usual.extra_share, (10 + 0.7188 + 49) / 1'000, 1e-4);
  EXPECT_EQ(usual.results_until_found, 20);
  ValidationPolicy all = kUsualValidation;
  all.mode = ValidationMode::kAll;
  all.quorum = 3;
  EXPECT_EQ(estimate_checks(all).extra_share, 2);
  EXPECT_EQ(estimate_checks({}).extra_share, 0) << "none";
}

}  // namespace
}  // namespace mh::scheduler
