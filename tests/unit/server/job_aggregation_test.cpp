// The server's aggregation of a job against the same numbers computed at once: whatever comes
// first, whatever is started again.
#include "server/job_aggregation.h"

#include <gtest/gtest.h>

#include <fstream>

#include "proto/base/random.h"
#include "tests/unit/server/small_manifest.h"
#include "tests/unit/server/temporary_folder.h"
#include "trainer/model/bucket_key.h"
#include "trainer/robust/aggregate.h"
#include "trainer/update/optimizer.h"

namespace mh::server {
namespace {

constexpr std::uint64_t kShards = 3;
constexpr std::uint64_t kBatch = 12;

constexpr std::string_view kJob = R"(
name: small
dataset: small
model: {layers: [{linear: {}}]}
loss: cross_entropy
training: {steps: 4, batch: 12, shard: 4, micro_batch: 4}
optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9}
)";

class JobAggregationTest : public testing::Test {
 protected:
  JobAggregationTest() : blobs(BlobStore::open(folder.path()).value()) {
    manifest = blobs.put(to_json(small_manifest({8, 8, 8}))).value();
    const auto parsed = scheduler::parse_job(kJob);
    EXPECT_TRUE(parsed.spec.has_value());
    job = blobs.put(scheduler::canonical_job_json(*parsed.spec, manifest)).value();
    model = load_job_model(blobs, job, manifest).value();
    values.assign(model->plan().parameter_count, 0.25F);
    parameters = put(update::PackKind::kParameters, 0, 0, values);
    state.assign(values.size(), 0.0F);
  }

  Digest put(update::PackKind kind, std::uint64_t step, std::uint64_t samples,
             const std::vector<float>& content) {
    update::PackHeader header;
    header.kind = kind;
    header.element_count = content.size();
    header.step = step;
    header.sample_count = samples;
    header.layout_digest = model->plan().layout_digest;
    return blobs.put(update::make_pack(header, content)).value();
  }

  // An update whose numbers do not add up to the same bits in another order.
  std::vector<float> gradient(std::uint64_t step, std::uint64_t shard) const {
    std::vector<float> content(values.size());
    Philox4x32 random(step + 1, shard);
    for (float& value : content) {
      value = (uniform_float(random.next()) - 0.5F) * (shard == 1 ? 1e8F : 1e-3F);
    }
    return content;
  }

  scheduler::StepReady make_step(std::uint64_t step) {
    scheduler::StepReady ready;
    ready.job = JobId(1);
    ready.step = step;
    ready.parameters_digest = parameters;
    ready.optimizer_digest = optimizer;
    ready.sample_count = kBatch;
    for (std::uint64_t shard = 0; shard < kShards; ++shard) {
      ready.update_digests.push_back(
          put(update::PackKind::kGradientSum, step, 4, gradient(step, shard)));
    }
    return ready;
  }

  // What the step must give, computed at once; moves `values` and `state` on.
  Digest expect_step(std::uint64_t step) {
    std::vector<std::vector<float>> shards;
    for (std::uint64_t shard = 0; shard < kShards; ++shard) shards.push_back(gradient(step, shard));
    const std::vector<std::span<const float>> views(shards.begin(), shards.end());
    std::vector<float> mean(values.size());
    EXPECT_TRUE(update::mean_gradient({}, views, kBatch, mean).has_value());
    EXPECT_TRUE(update::take_step(model->rule, step, mean, values, state).has_value());
    update::PackHeader header;
    header.element_count = values.size();
    header.step = step + 1;
    header.layout_digest = model->plan().layout_digest;
    return sha256(update::make_pack(header, values));
  }

  scheduler::UpdateAccepted accepted(const scheduler::StepReady& step, std::uint64_t shard) const {
    return {step.job, step.step, shard, step.update_digests[shard]};
  }

  void advance(const scheduler::StepOutput& output) {
    parameters = output.parameters_digest;
    optimizer = output.optimizer_digest;
  }

  TemporaryFolder folder;
  BlobStore blobs;
  Digest manifest;
  Digest job;
  JobModelPtr model;
  Digest parameters;
  Digest optimizer;
  std::vector<float> values;
  std::vector<float> state;
};

TEST_F(JobAggregationTest, GivesTheSameBitsInWhateverOrderUpdatesCome) {
  JobAggregation aggregation(blobs, job, manifest);
  const std::vector<std::vector<std::uint64_t>> orders = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {2}};
  for (std::uint64_t step = 0; step < orders.size(); ++step) {
    const scheduler::StepReady ready = make_step(step);
    for (const std::uint64_t shard : orders[step]) aggregation.accept(accepted(ready, shard));
    const auto output = aggregation.complete(ready);
    ASSERT_TRUE(output.has_value()) << output.error().message;
    EXPECT_EQ(output->parameters_digest, expect_step(step)) << "step " << step;
    EXPECT_TRUE(blobs.contains(output->parameters_digest));
    advance(*output);
  }
}

TEST_F(JobAggregationTest, GoesOnFromTheBlobsAfterARestart) {
  for (std::uint64_t step = 0; step < 3; ++step) {
    JobAggregation started_again(blobs, job, manifest);
    const scheduler::StepReady ready = make_step(step);
    const auto output = started_again.complete(ready);
    ASSERT_TRUE(output.has_value()) << output.error().message;
    EXPECT_EQ(output->parameters_digest, expect_step(step));
    advance(*output);
  }
}

TEST_F(JobAggregationTest, ForgetsUpdatesThatAreNotThoseOfTheStep) {
  JobAggregation aggregation(blobs, job, manifest);
  const scheduler::StepReady ready = make_step(0);
  scheduler::UpdateAccepted wrong = accepted(ready, 0);
  wrong.update_digest = ready.update_digests[1];
  aggregation.accept(wrong);
  const auto output = aggregation.complete(ready);
  ASSERT_TRUE(output.has_value()) << output.error().message;
  EXPECT_EQ(output->parameters_digest, expect_step(0));
}

TEST_F(JobAggregationTest, TakesAStepOnceThoughItIsPublishedTwice) {
  JobAggregation aggregation(blobs, job, manifest);
  const scheduler::StepReady ready = make_step(0);
  for (std::uint64_t shard = 0; shard < kShards; ++shard)
    aggregation.accept(accepted(ready, shard));
  const Digest expected = expect_step(0);
  // A file where the folder of the new parameters must be: nothing can be published there.
  const auto target = blobs.path_of(expected).parent_path();
  const auto aside = folder.path() / "aside";
  const bool was_there = std::filesystem::exists(target);
  if (was_there) std::filesystem::rename(target, aside);
  std::ofstream(target).put('x');
  const auto failed = aggregation.complete(ready);
  EXPECT_FALSE(failed.has_value());
  std::filesystem::remove(target);
  if (was_there) std::filesystem::rename(aside, target);
  const auto output = aggregation.complete(ready);
  ASSERT_TRUE(output.has_value()) << output.error().message;
  EXPECT_EQ(output->parameters_digest, expected);
}

// A step of three shards under a robust rule: `voices` says whose they are.
class RobustAggregationTest : public JobAggregationTest {
 protected:
  void use(const std::string& aggregation) {
    const std::string text = std::string(kJob) + "aggregation: " + aggregation + "\n";
    const auto parsed = scheduler::parse_job(text);
    ASSERT_TRUE(parsed.spec.has_value()) << scheduler::problem_text(parsed.problems.at(0));
    job = blobs.put(scheduler::canonical_job_json(*parsed.spec, manifest)).value();
    model = load_job_model(blobs, job, manifest).value();
  }

  Result<scheduler::StepOutput> complete(std::vector<std::uint32_t> voices) {
    JobAggregation aggregation(blobs, job, manifest);
    scheduler::StepReady ready = make_step(0);
    ready.host_groups = std::move(voices);
    // In whatever order they come; a robust rule waits for all.
    for (const std::uint64_t shard : {2, 0}) aggregation.accept(accepted(ready, shard));
    return aggregation.complete(ready);
  }

  // The parameters that a gradient leads to; `values` and `state` stay.
  Digest step_with(std::vector<float> mean) const {
    std::vector<float> next = values, next_state = state;
    EXPECT_TRUE(update::take_step(model->rule, 0, mean, next, next_state).has_value());
    update::PackHeader header;
    header.element_count = next.size();
    header.step = 1;
    header.layout_digest = model->plan().layout_digest;
    return sha256(update::make_pack(header, next));
  }

  // One host's vector, as anybody would write it down.
  std::vector<float> voice(const std::vector<std::uint64_t>& shards) const {
    std::vector<double> sum(values.size());
    for (const std::uint64_t shard : shards) {
      const std::vector<float> part = gradient(0, shard);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(part[i]);
    }
    std::vector<float> mean(values.size());
    const auto samples = static_cast<double>(4 * shards.size());
    for (std::size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(sum[i] / samples);
    return mean;
  }

  static std::vector<float> middle_of_three(const std::vector<float>& a,
                                            const std::vector<float>& b,
                                            const std::vector<float>& c) {
    std::vector<float> middle(a.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      middle[i] = std::max(std::min(a[i], b[i]), std::min(std::max(a[i], b[i]), c[i])) + 0.0F;
    return middle;
  }
};

TEST_F(RobustAggregationTest, EachHostHasOneVoice) {
  use("{rule: median, f: 1}");
  const auto output = complete({0, 1, 2});
  ASSERT_TRUE(output.has_value()) << output.error().message;
  EXPECT_EQ(output->parameters_digest,
            step_with(middle_of_three(voice({0}), voice({1}), voice({2}))));
}

TEST_F(RobustAggregationTest, ShardsOfOneHostAreOneVectorByTheirSamples) {
  use("{rule: median}");
  const auto output = complete({0, 1, 0});
  ASSERT_TRUE(output.has_value()) << output.error().message;
  const std::vector<float> first = voice({0, 2}), second = voice({1});
  std::vector<float> mean(first.size());
  for (std::size_t i = 0; i < mean.size(); ++i)
    mean[i] = static_cast<float>(
        (std::min<double>(first[i], second[i]) + std::max<double>(first[i], second[i])) / 2);
  EXPECT_EQ(output->parameters_digest, step_with(mean));
}

TEST_F(RobustAggregationTest, ShardsMayBeVoicesByThemselves) {
  use("{rule: trimmed_mean, f: 1, unit: shard}");
  const auto output = complete({0, 0, 0});
  ASSERT_TRUE(output.has_value()) << output.error().message;
  EXPECT_EQ(output->parameters_digest,
            step_with(middle_of_three(voice({0}), voice({1}), voice({2}))));
}

TEST_F(RobustAggregationTest, GivesTheBitsOfVectorsThatAreWrittenDown) {
  for (const std::string rule :
       {"{rule: krum}", "{rule: trimmed_mean, f: 1, pre: [nnm]}", "{rule: geometric_median, f: 1}",
        "{rule: median, pre: [{bucketing: {size: 2}}]}", "{pre: [{clipping: {norm: 1}}]}",
        "{rule: caf, f: 1, pre: [arc]}"}) {
    use(rule);
    const auto output = complete({0, 1, 2});
    ASSERT_TRUE(output.has_value()) << output.error().message;
    std::vector<std::vector<float>> vectors = {voice({2}), voice({0}), voice({1})};
    std::vector<robust::Input> inputs;
    for (const auto& vector : vectors)
      inputs.push_back({.name = "host", .values = std::as_bytes(std::span(vector))});
    model::Recipe recipe = model->spec.aggregation.recipe;
    recipe.bucket_seed = model::bucket_key(model->spec.seed, 0);
    std::vector<float> mean(values.size());
    ASSERT_TRUE(robust::aggregate(recipe, inputs, {}, mean, {}).has_value());
    EXPECT_EQ(output->parameters_digest, step_with(mean)) << rule;
    EXPECT_EQ(output->rule, model::names_of(recipe));
  }
}

TEST_F(RobustAggregationTest, SaysTheConditionWhenTooFewTookPart) {
  use("{rule: trimmed_mean, f: 1}");
  const auto output = complete({0, 0, 1});
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(output.error().message,
            "the aggregation is not defined for the 2 that took part: trimmed_mean needs 2f < n: "
            "f = 1, n = 2");
}

TEST_F(JobAggregationTest, SaysWhichBlobIsDamaged) {
  JobAggregation aggregation(blobs, job, manifest);
  scheduler::StepReady ready = make_step(0);
  ready.update_digests[2] = parameters;
  const auto output = aggregation.complete(ready);
  ASSERT_FALSE(output.has_value());
  EXPECT_NE(output.error().message.find("gradient sum"), std::string::npos)
      << output.error().message;
}

}  // namespace
}  // namespace mh::server
