// A robust step taken again from what its record says gives the bits that the server gave.
#include "trainer/robust/recorded_step.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "proto/base/random.h"
#include "server/job_aggregation.h"
#include "tests/unit/server/small_manifest.h"
#include "tests/unit/server/temporary_folder.h"
#include "trainer/update/step_replay.h"

namespace mh::server {
namespace {

constexpr std::uint64_t kSamples = 4;

constexpr std::string_view kJob = R"(
name: small
dataset: small
seed: 11
model: {layers: [{linear: {}}]}
loss: cross_entropy
training: {steps: 4, batch: 32, shard: 4, micro_batch: 4}
optimizer: {kind: adamw, learning_rate: 0.1}
clip_norm: 1
)";

// Five hosts, two of them with several shards, not in a row.
const std::vector<std::string> kHosts = {"c0", "05", "c0", "aa", "11", "05", "7f", "c0"};
const std::vector<std::uint32_t> kGroups = {0, 1, 0, 2, 3, 1, 4, 0};

class RecordedStepTest : public testing::Test {
 protected:
  RecordedStepTest() : blobs(BlobStore::open(folder.path()).value()) {}

  void use(const std::string& aggregation) {
    const auto parsed =
        scheduler::parse_job(std::string(kJob) + "aggregation: " + aggregation + "\n");
    ASSERT_TRUE(parsed.spec.has_value()) << scheduler::problem_text(parsed.problems.at(0));
    manifest = blobs.put(to_json(small_manifest({32, 16, 16}))).value();
    const std::string json = scheduler::canonical_job_json(*parsed.spec, manifest);
    job = blobs.put(json).value();
    layout = load_job_model(blobs, job, manifest).value()->plan();
    auto read = update::read_job_rule(json);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    rule = *std::move(read);
    rule.step.step_count = 4;
    step = {};
    step.job = JobId(1);
    step.sample_count = 32;
    step.host_groups = kGroups;
    const std::vector<float> first(layout.parameter_count, 0.25F);
    step.parameters_digest = put(update::PackKind::kParameters, 0, 0, first);
    hosts = kHosts;
  }

  Digest put(update::PackKind kind, std::uint64_t at, std::uint64_t samples,
             const std::vector<float>& content) {
    update::PackHeader header;
    header.kind = kind;
    header.element_count = content.size();
    header.step = at;
    header.sample_count = samples;
    header.layout_digest = layout.layout_digest;
    return blobs.put(update::make_pack(header, content)).value();
  }

  Digest put_update(std::uint64_t shard, float first_sign = 1) {
    std::vector<float> content(layout.parameter_count);
    Philox4x32 random(step.step + 1, shard);
    for (float& value : content) value = uniform_float(random.next()) - 0.5F;
    content[0] *= first_sign;
    return put(update::PackKind::kGradientSum, step.step, kSamples, content);
  }

  void put_updates() {
    step.update_digests.clear();
    for (std::uint64_t shard = 0; shard < kHosts.size(); ++shard)
      step.update_digests.push_back(put_update(shard));
  }

  // What somebody who has the record and the blobs gets: new parameters, new optimizer state.
  std::pair<Digest, Digest> take_again() {
    update::StepReplay replay(rule.step);
    const MappedFile parameters = blobs.map(step.parameters_digest).value();
    MappedFile optimizer;
    if (!step.optimizer_digest.is_zero()) optimizer = blobs.map(step.optimizer_digest).value();
    const Status begun = replay.begin(step.step, parameters.bytes(), optimizer.bytes());
    EXPECT_TRUE(begun.has_value()) << begun.error().message;
    std::vector<MappedFile> files;
    std::vector<std::span<const float>> sums;
    for (const Digest& digest : step.update_digests) {
      files.push_back(blobs.map(digest).value());
      sums.push_back(replay.read(files.back().bytes(), kSamples).value());
    }
    const robust::RecordedShards shards = {.step = step.step, .sums = sums, .hosts = hosts};
    const Status made = robust::recorded_gradient(rule, shards, replay.gradient(), 2);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    EXPECT_TRUE(replay.finish_with_gradient().has_value());
    return {sha256(replay.parameters()), sha256(replay.optimizer())};
  }

  TemporaryFolder folder;
  BlobStore blobs;
  Digest manifest;
  Digest job;
  model::ModelPlan layout;
  update::JobRule rule;
  scheduler::StepReady step;
  std::vector<std::string> hosts;
};

TEST_F(RecordedStepTest, GivesTheBitsOfTheServer) {
  for (const std::string aggregation :
       {"{rule: trimmed_mean, f: 1, pre: [nnm]}", "{rule: median, pre: [{bucketing: {size: 2}}]}",
        "{rule: trimmed_mean, f: 2, unit: shard}", "{rule: multi_krum, f: 1, q: 2}",
        "{rule: median, pre: [{clipping: {norm: 0.1}}, {bucketing: {size: 3}}], unit: shard}"}) {
    use(aggregation);
    JobAggregation aggregate(blobs, job, manifest);
    for (step.step = 0; step.step < 3; ++step.step) {
      put_updates();
      const auto output = aggregate.complete(step);
      ASSERT_TRUE(output.has_value()) << output.error().message;
      const auto [parameters, optimizer] = take_again();
      EXPECT_EQ(parameters, output->parameters_digest) << aggregation << ", step " << step.step;
      EXPECT_EQ(optimizer, output->optimizer_digest) << aggregation << ", step " << step.step;
      EXPECT_EQ(output->rule, model::names_of(rule.recipe));
      step.parameters_digest = output->parameters_digest;
      step.optimizer_digest = output->optimizer_digest;
    }
  }
}

TEST_F(RecordedStepTest, ChangesWithOneBitOfAnUpdate) {
  use("{rule: trimmed_mean, f: 1, pre: [nnm]}");
  put_updates();
  const auto right = take_again();
  step.update_digests[3] = put_update(3, -1);
  EXPECT_NE(take_again(), right);
}

TEST_F(RecordedStepTest, ChangesWithWhoseTheUpdatesAre) {
  use("{rule: trimmed_mean, f: 1, pre: [nnm]}");
  put_updates();
  const auto right = take_again();
  hosts[7] = "aa";
  EXPECT_NE(take_again(), right);
  // Other names for the same hosts change nothing.
  hosts = kHosts;
  for (std::string& host : hosts) host = "x" + host;
  EXPECT_EQ(take_again(), right);
}

TEST_F(RecordedStepTest, BucketsFollowFromTheSeedOfTheJob) {
  use("{rule: median, pre: [{bucketing: {size: 2}}]}");
  put_updates();
  const auto right = take_again();
  rule.seed = 12;
  EXPECT_NE(take_again(), right);
}

TEST_F(RecordedStepTest, SaysTheConditionWhenARecordHasTooFewHosts) {
  use("{rule: trimmed_mean, f: 1}");
  std::vector<float> values(layout.parameter_count, 1);
  std::vector<float> out(layout.parameter_count);
  const std::vector<std::span<const float>> sums(3, values);
  hosts = {"aa", "bb", "aa"};
  const robust::RecordedShards shards = {.sums = sums, .hosts = hosts};
  const Status made = robust::recorded_gradient(rule, shards, out, 1);
  ASSERT_FALSE(made.has_value());
  EXPECT_NE(made.error().message.find("n = 2"), std::string::npos) << made.error().message;
}

TEST(VoicesOf, AreHostsOrShards) {
  EXPECT_EQ(robust::voices_of(update::VoiceUnit::kHost, kHosts), kGroups);
  EXPECT_EQ(robust::voices_of(update::VoiceUnit::kShard, kHosts),
            (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

}  // namespace
}  // namespace mh::server
