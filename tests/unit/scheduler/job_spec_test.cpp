// Job files: what each key means, what is filled in, and the canonical JSON.
#include "scheduler/job_spec.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "job_spec_fixture.h"
#include "proto/base/random.h"
#include "trainer/model/layer_kind.h"
#include "trainer/model/presets.h"

namespace mh::scheduler {
namespace {

using model::OptimizerKind;
using model::ScheduleKind;

const Digest kManifest = sha256(std::string_view("a manifest"));

/// What the trainer makes of a job that the server has stored.
JobSpec through_json(const JobSpec& spec) {
  const std::string json = canonical_job_json(spec, kManifest);
  EXPECT_EQ(json.find('\n'), std::string::npos);
  return parsed(json);
}

JobSpec pinned(JobSpec spec) {
  spec.manifest = kManifest;
  return spec;
}

TEST(JobSpec, TakesWhatTheFileSays) {
  const JobSpec spec = parsed(
      "name: all-of-it\n"
      "dataset: photos.v2\n"
      "manifest: " +
      kManifest.hex() +
      "\n"
      "mode: gradient\n"
      "seed: 9007199254740991\n"
      "model: {layers: [flatten, {linear: {out: 3, bias: false, init: zeros}}]}\n"
      "loss: mse\n"
      "training: {passes: 2.5, batch: 96, shard: 24, micro_batch: 12}\n"
      "optimizer: {kind: adam, learning_rate: 1e-3, beta1: 0.8, beta2: 0.99, epsilon: 1e-6}\n"
      "schedule: {kind: step, every_steps: 10, factor: 0.5, warmup_steps: 2}\n"
      "clip_norm: 0.5\n"
      "evaluation: {split: val, every_steps: 7, shard: 100}\n"
      "normalize: false\n"
      "priority: 0\n"
      "threads: 4\n");
  EXPECT_EQ(spec.name, "all-of-it");
  EXPECT_EQ(spec.dataset, "photos.v2");
  EXPECT_EQ(spec.manifest, kManifest);
  EXPECT_EQ(spec.seed, 9'007'199'254'740'991U);
  ASSERT_EQ(spec.model.layers.size(), 2U);
  EXPECT_EQ(spec.model.layers[1].settings.at("out"), model::SettingValue(std::int64_t{3}));
  EXPECT_EQ(spec.model.layers[1].settings.at("bias"), model::SettingValue(false));
  EXPECT_EQ(spec.model.loss, model::Loss::kMeanSquaredError);
  EXPECT_EQ(spec.training, (model::TrainingSpec{2.5, std::nullopt, 96, 24, 12}));
  EXPECT_EQ(spec.optimizer.kind, OptimizerKind::kAdam);
  EXPECT_EQ(spec.optimizer.beta2, 0.99);
  EXPECT_EQ(spec.schedule, (model::ScheduleSpec{ScheduleKind::kStep, 2, 10, 0.5, 0}));
  EXPECT_EQ(spec.clip_norm, 0.5);
  EXPECT_EQ(spec.evaluation, (EvaluationSpec{"val", 7, 100}));
  EXPECT_FALSE(spec.normalize);
  EXPECT_EQ(spec.priority, 0U);
  EXPECT_EQ(spec.threads, 4U);
}

TEST(JobSpec, FillsInWhatTheFileLeavesAway) {
  const JobSpec spec = parsed(
      "name: short\ndataset: d\nmodel: {preset: mlp}\ntraining: {steps: 1}\n"
      "optimizer: {kind: adamw, learning_rate: 1}\n");
  EXPECT_EQ(spec.seed, 0U);
  EXPECT_EQ(spec.model.loss, model::Loss::kCrossEntropy);
  EXPECT_EQ(spec.training, (model::TrainingSpec{std::nullopt, 1, 128, 32, 32}));
  EXPECT_EQ(spec.optimizer.weight_decay, 0.01);
  EXPECT_EQ(spec.schedule, model::ScheduleSpec{});
  EXPECT_EQ(spec.clip_norm, 0);
  EXPECT_FALSE(spec.evaluation.has_value());
  EXPECT_TRUE(spec.normalize);
  EXPECT_EQ(spec.priority, 50U);
  EXPECT_EQ(spec.threads, 1U);
}

TEST(JobSpec, OnlyAdamwDecaysWeightsUnlessAsked) {
  for (const char* kind : {"sgd", "adam"}) {
    const auto text =
        with_line(6, "optimizer: {kind: " + std::string(kind) + ", learning_rate: 0.1}");
    EXPECT_EQ(parsed(text).optimizer.weight_decay, 0) << kind;
  }
}

TEST(JobSpec, DerivesShardAndMicroBatchFromTheBatch) {
  const auto sizes = [](const std::string& training) {
    return parsed(with_line(5, "training: {steps: 1, " + training + "}")).training;
  };
  EXPECT_EQ(sizes("batch: 1").shard, 1U);
  EXPECT_EQ(sizes("batch: 2048").shard, 512U);
  EXPECT_EQ(sizes("batch: 2048").micro_batch, 64U);
  EXPECT_EQ(sizes("batch: 100, shard: 50").micro_batch, 50U);
  EXPECT_EQ(sizes("batch: 96, micro_batch: 16").shard, 16U);
  EXPECT_EQ(sizes("batch: 96, micro_batch: 48").shard, 48U);
}

TEST(JobSpec, ReadsEveryWayToWriteALayer) {
  const JobSpec flow = parsed(
      with_line(3, "model: {layers: [flatten, {linear: {out: 4}}, relu: , {gelu: {}}, linear: ]}"));
  const JobSpec block = parsed(
      with_line(3,
                "model:\n  layers:\n    - flatten\n    - linear:\n        out: 4\n    - relu\n"
                "    - gelu:\n    - linear"));
  EXPECT_EQ(flow, block);
}

TEST(JobSpec, WritesPresetsOut) {
  EXPECT_EQ(parsed(kGoodJob).model.layers, model::cnn_layers({}));
  const JobSpec spec = parsed(
      with_line(3, "model: {preset: mlp, hidden: [32, 16], activation: tanh, dropout: 0.25}"));
  EXPECT_EQ(spec.model.layers, model::mlp_layers({{32, 16}, "tanh", 0.25}));
  EXPECT_EQ(parsed(with_line(3, "model: {preset: mlp, hidden: []}")).model.layers.size(), 2U);
}

TEST(JobSpec, DoesNotNormalizeTheInputsOfAnEmbedding) {
  const std::string_view model =
      "model: {layers: [{embedding: {num: 9, dim: 4}}, flatten, linear]}";
  EXPECT_FALSE(parsed(with_line(3, model)).normalize);
}

TEST(JobSpec, KnowsWhereEachKeyStands) {
  const Places places =
      parse_job(with_line(3, "model:\n  layers: [flatten, {linear: {out: 4}}]")).places;
  EXPECT_EQ(places.at("name").line, 1U);
  EXPECT_EQ(places.at("model.layers").line, 4U);
  EXPECT_EQ(places.at("model.layers[1]").column, 22U);
  EXPECT_EQ(places.at("model.layers[1].out").column, 31U);
  EXPECT_EQ(places.at("training.shard").line, 6U);
}

TEST(CanonicalJob, IsReadAgainAsTheSameJob) {
  for (const std::string& text :
       {std::string(kGoodJob), with_line(5, "training: {passes: 0.1}"), with_line(9, ""),
        with_line(6, "optimizer: {kind: adamw, learning_rate: 0.3, beta2: 0.95}"),
        with_line(7, "schedule: {kind: step, every_steps: 3, factor: 0.7}"),
        with_line(3,
                  "model: {layers: [{embedding: {num: 9, dim: 4, scale: 0.02}}, layer_norm, "
                  "flatten, {dropout: {p: 0.1}}, linear]}")}) {
    const JobSpec spec = parsed(text);
    EXPECT_EQ(through_json(spec), pinned(spec)) << text;
  }
}

TEST(CanonicalJob, HasTheRecordedBytes) {
  const std::string json = canonical_job_json(
      parsed("name: short\ndataset: d\nmodel: {layers: [flatten, linear]}\n"
             "training: {steps: 7}\noptimizer: {kind: adam, learning_rate: 0.1}\n"),
      Digest{});
  EXPECT_EQ(json, R"({"format":"manyhands-job/1","name":"short","dataset":"d","manifest":")" +
                      std::string(64, '0') +
                      R"(","mode":"gradient","seed":0,"model":{"layers":["flatten",{"linear":)"
                      R"({"bias":true,"init":"default"}}]},"loss":"cross_entropy",)"
                      R"("training":{"steps":7,"batch":128,"shard":32,"micro_batch":32},)"
                      R"("optimizer":{"kind":"adam","learning_rate":0.1,"weight_decay":0,)"
                      R"("beta1":0.9,"beta2":0.999,"epsilon":1e-08},)"
                      R"("schedule":{"kind":"constant","warmup_steps":0},"clip_norm":0,)"
                      R"("normalize":true,"priority":50,"threads":1})");
}

TEST(CanonicalJob, KeepsEveryBitOfANumber) {
  JobSpec spec = parsed(with_line(5, "training: {passes: 1}"));
  Philox4x32 generator(1);
  for (int i = 0; i < 300; ++i) {
    spec.optimizer.learning_rate = 1e-300 + 1000 * uniform_double(generator.next64());
    spec.optimizer.momentum = uniform_double(generator.next64()) * 0x1p-40;
    spec.training.passes = 1e-9 + 1e6 * uniform_double(generator.next64());
    spec.clip_norm = std::bit_cast<double>(generator.next64() >> 3);  // Down to denormal numbers.
    if (!(spec.clip_norm <= 1e9)) continue;
    spec.seed = generator.next64() >> 11;
    ASSERT_EQ(through_json(spec), pinned(spec)) << canonical_job_json(spec, kManifest);
  }
}

TEST(CanonicalJob, IsTheSameForEqualJobs) {
  JobSpec spec = parsed(kGoodJob);
  const std::string json = canonical_job_json(spec, kManifest);
  EXPECT_EQ(canonical_job_json(through_json(spec), kManifest), json);
  spec.optimizer.weight_decay = -0.0;  // Equals 0.
  EXPECT_EQ(canonical_job_json(spec, kManifest), json);
}

TEST(CanonicalJob, OfTheLargestModelIsStillRead) {
  std::string layers = "{conv2d: {out: 1, kernel: 1}}";
  for (std::size_t i = 1; i < model::kLayerCountMax; ++i)
    layers += ", {conv2d: {out: 1, kernel: 1}}";
  const JobSpec spec = parsed(with_line(3, "model: {layers: [" + layers + "]}"));
  EXPECT_LT(canonical_job_json(spec, kManifest).size(), kJobTextBytesMax);
  EXPECT_EQ(through_json(spec), pinned(spec));
}

}  // namespace
}  // namespace mh::scheduler
