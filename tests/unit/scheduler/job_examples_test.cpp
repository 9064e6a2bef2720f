// docs/examples: every file is a good job, and is what its comments and the README say.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "job_spec_fixture.h"
#include "proto/base/file.h"
#include "scheduler/job_check.h"

namespace mh::scheduler {
namespace {

/// What the data set that an example names looks like.
const std::map<std::string, DataShape>& example_data() {
  static const std::map<std::string, DataShape> data = {
      {"fashion-mnist", {}},
      {"digits", {{DataType::kF32, {8, 8}}, {DataType::kI64, {}}, 10, 1'438, 359}},
      {"linear-demo", {{DataType::kF32, {10}}, {DataType::kI64, {}}, 10, 2'048, 0}},
  };
  return data;
}

struct Example {
  JobSpec spec;
  CheckedJob checked;
};

Example read_example(const std::filesystem::path& path) {
  const auto text = read_file(path, kJobTextBytesMax);
  EXPECT_TRUE(text.has_value()) << path;
  const ParsedJob job = parse_job(text.value());
  EXPECT_TRUE(job.spec.has_value()) << path << "\n" << all_text(job.problems);
  if (!job.spec) return {};
  const auto shape = example_data().find(job.spec->dataset);
  EXPECT_NE(shape, example_data().end()) << path << " names an unknown data set";
  if (shape == example_data().end()) return {};
  const DatasetManifest manifest = made_up_manifest(shape->second);
  Example example = {*job.spec,
                     check_against(*job.spec, manifest, digest_of(manifest), job.places)};
  EXPECT_TRUE(example.checked.plan.has_value()) << path << "\n"
                                                << all_text(example.checked.problems);
  return example;
}

std::filesystem::path folder() { return std::filesystem::path(MH_SOURCE_DIR) / "docs/examples"; }

TEST(JobExamples, AreAllGood) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    if (entry.path().extension() != ".yaml") continue;
    read_example(entry.path());
    ++count;
  }
  EXPECT_GE(count, 3);
}

TEST(JobExamples, FashionMnistIsTheCnnPresetWrittenOut) {
  const Example example = read_example(folder() / "fashion-mnist.yaml");
  EXPECT_EQ(example.spec.model, parsed(kGoodJob).model);
  EXPECT_EQ(example.checked.plan->parameter_count, 80'202U);
  EXPECT_EQ(example.checked.step_count, 1'407U);
  EXPECT_EQ(example.checked.workunits_per_step, 4U);
}

TEST(JobExamples, DigitsHaveTheSizesOfTheirComments) {
  const Example example = read_example(folder() / "digits-mlp.yaml");
  EXPECT_EQ(example.checked.plan->parameter_count, 9'610U);
  EXPECT_EQ(example.checked.step_count, 675U);
  EXPECT_EQ(example.spec.training.shard, 16U);
  EXPECT_EQ(example.spec.training.micro_batch, 16U);
}

TEST(JobExamples, LinearHasFourWorkunitsAStep) {
  const Example example = read_example(folder() / "linear.yaml");
  EXPECT_EQ(example.checked.plan->parameter_count, 110U);
  EXPECT_EQ(example.checked.workunits_per_step, 4U);
  EXPECT_EQ(example.checked.step_count, 64U);
}

}  // namespace
}  // namespace mh::scheduler
