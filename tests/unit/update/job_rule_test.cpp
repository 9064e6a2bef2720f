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

TEST(JobRule, NamesTheAggregation) {
  std::string json =
      job(std::string(kTraining) + "optimizer: {kind: sgd, learning_rate: 0.1}\n").json;
  EXPECT_EQ(read_job_rule(json)->aggregation, "mean");
  json.pop_back();
  const auto with = [&json](const std::string& aggregation) {
    return read_job_rule(json + ",\"aggregation\":" + aggregation + "}");
  };
  EXPECT_EQ(with(R"({"rule":"krum","f":2,"pre":[]})")->aggregation, "krum");
  EXPECT_EQ(with(R"({"rule":"mean","f":2,"pre":["nnm",{"clipping":{"norm":2}}]})")->aggregation,
            "nnm+clipping+mean");
  EXPECT_FALSE(with(R"({"f":2,"pre":[]})"));
  EXPECT_FALSE(with(R"({"rule":"mean","pre":[3]})"));
  EXPECT_FALSE(with("[]"));
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
