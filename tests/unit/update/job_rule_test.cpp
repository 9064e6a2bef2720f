// What trainer/update reads in a canonical job specification is what the scheduler wrote there.
#include "trainer/update/job_rule.h"

#include <gtest/gtest.h>

#include "scheduler/job_spec.h"

namespace mh::update {
namespace {

// What a job file says, by way of its canonical specification.
struct Both {
  scheduler::JobSpec spec;
  std::string json;
};

Both job(const std::string& rest) {
  const scheduler::ParsedJob parsed = scheduler::parse_job(
      "name: job\ndataset: digits\nseed: 7\nmodel: {preset: mlp}\nloss: cross_entropy\n" + rest);
  EXPECT_TRUE(parsed.spec) << (parsed.problems.empty()
                                   ? ""
                                   : scheduler::problem_text(parsed.problems.front()));
  Both both;
  if (parsed.spec) both.spec = *parsed.spec;
  both.json = scheduler::canonical_job_json(both.spec, sha256("manifest"));
  return both;
}

constexpr const char* kTraining = "training: {steps: 40, batch: 128, shard: 32, micro_batch: 16}\n";

TEST(JobRule, ReadsWhatTheSchedulerWrites) {
  for (const std::string& rest : {
           std::string(kTraining) + "optimizer: {kind: sgd, learning_rate: 0.1}\n",
           std::string(kTraining) +
               "optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true, "
               "weight_decay: 0.001}\nschedule: {kind: step, every_steps: 7, factor: 0.3}\n",
           std::string("training: {passes: 2.5, batch: 128, shard: 32, micro_batch: 16}\n") +
               "optimizer: {kind: adam, learning_rate: 1e-3, beta1: 0.8, beta2: 0.99, epsilon: "
               "1e-7}\nschedule: {kind: cosine, warmup_steps: 5, final_factor: 0.1}\nclip_norm: "
               "5\n",
           std::string(kTraining) + "optimizer: {kind: adamw, learning_rate: 0.002}\n",
       }) {
    const Both both = job(rest);
    const auto rule = read_job_rule(both.json);
    ASSERT_TRUE(rule) << rule.error().message << "\n" << both.json;
    EXPECT_EQ(rule->name, "job");
    EXPECT_EQ(rule->manifest, sha256("manifest"));
    EXPECT_EQ(rule->training, both.spec.training);
    EXPECT_EQ(rule->step.optimizer, both.spec.optimizer);
    EXPECT_EQ(rule->step.schedule, both.spec.schedule);
    EXPECT_EQ(rule->step.clip_norm, both.spec.clip_norm);
  }
}

TEST(JobRule, ReadsTheAggregationThatTheSchedulerWrites) {
  const std::string usual = std::string(kTraining) + "optimizer: {kind: sgd, learning_rate: 0.1}\n";
  EXPECT_TRUE(read_job_rule(job(usual).json)->is_exact_mean());
  EXPECT_EQ(model::names_of(read_job_rule(job(usual).json)->recipe), "mean");
  for (const std::string aggregation :
       {"{rule: median}", "{rule: trimmed_mean, f: 1, pre: [nnm], unit: shard}",
        "{rule: krum, convention: paper}", "{rule: multi_krum, f: 1, q: 2}", "{rule: multi_krum}",
        "{rule: geometric_median, nu: 0.3}", "{rule: centered_clipping, tau: 0.1, iterations: 7}",
        "{pre: [{clipping: {norm: 0.7}}, arc, {bucketing: {size: 3}}]}"}) {
    const Both both = job(usual + "aggregation: " + aggregation + "\n");
    const auto rule = read_job_rule(both.json);
    ASSERT_TRUE(rule) << rule.error().message << "\n" << both.json;
    EXPECT_FALSE(rule->is_exact_mean());
    EXPECT_EQ(rule->seed, both.spec.seed);
    EXPECT_EQ(rule->recipe, both.spec.aggregation.recipe) << aggregation;
    EXPECT_EQ(rule->unit == VoiceUnit::kShard,
              both.spec.aggregation.unit == scheduler::AggregationUnit::kShard);
  }
}

TEST(JobRule, RefusesAnAggregationThatItCannotFollow) {
  std::string json =
      job(std::string(kTraining) + "optimizer: {kind: sgd, learning_rate: 0.1}\n").json;
  json.pop_back();
  const auto with = [&json](const std::string& aggregation) {
    return read_job_rule(json + ",\"aggregation\":" + aggregation + "}");
  };
  EXPECT_TRUE(with(R"({"rule":"median","f":0,"pre":["nnm"],"unit":"host"})"));
  for (const std::string bad : {
           R"([])",
           R"({})",
           R"({"f":0,"pre":[],"unit":"host"})",
           R"({"rule":"other","f":0,"pre":[],"unit":"host"})",
           R"({"rule":"median","f":-1,"pre":[],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":"nnm","unit":"host"})",
           R"({"rule":"median","f":0,"pre":[3],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":["other"],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":["clipping"],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":[{"clipping":2}],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":[{"bucketing":{"size":0}}],"unit":"host"})",
           R"({"rule":"median","f":0,"pre":[],"unit":"account"})",
           R"({"rule":"krum","f":0,"pre":[],"unit":"host"})",
           R"({"rule":"geometric_median","f":0,"pre":[],"unit":"host","nu":0.1})",
       }) {
    EXPECT_FALSE(with(bad)) << bad;
  }
  const auto shards = json.find("\"batch\":128");
  ASSERT_NE(shards, std::string::npos);
  json.replace(shards, 11, "\"batch\":1048576");
  EXPECT_FALSE(with(R"({"rule":"median","f":0,"pre":[],"unit":"host"})")) << "too many shards";
}

TEST(JobRule, RefusesWhatItCannotFollow) {
  const std::string json =
      job(std::string(kTraining) + "optimizer: {kind: sgd, learning_rate: 0.1}\n").json;
  const auto replaced = [&json](std::string_view what, std::string_view by) {
    std::string text = json;
    const auto place = text.find(what);
    EXPECT_NE(place, std::string::npos) << what;
    return text.replace(place, what.size(), by);
  };
  for (const std::string& bad : {
           std::string(),
           std::string("[]"),
           std::string("{}"),
           json.substr(1),
           replaced("manyhands-job/1", "manyhands-job/2"),
           replaced("\"mode\":\"gradient\"", "\"mode\":\"other\""),
           replaced("\"kind\":\"sgd\"", "\"kind\":\"lion\""),
           replaced("\"steps\":40", "\"steps\":40,\"passes\":1"),
           replaced("\"steps\":40", "\"steps\":0"),
           replaced("\"batch\":128", "\"batch\":-1"),
           replaced("\"training\":{", "\"training\":[{"),
           replaced("\"clip_norm\":0", "\"clip_norm\":\"0\""),
       }) {
    EXPECT_FALSE(read_job_rule(bad)) << bad;
  }
}

}  // namespace
}  // namespace mh::update
