// The section `aggregation` of a job file, and `numerics`.
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/scheduler/job_spec_fixture.h"

namespace mh::scheduler {
namespace {

const Digest kManifest = sha256(std::string_view("a manifest"));

std::string json_of(std::string_view more) {
  return canonical_job_json(parsed(with_more(more)), kManifest);
}

/// Problems of the good job with more lines; of one with eight workunits a step.
std::string problems_of(std::string_view more) {
  return all_text(parse_job(with_more(more)).problems);
}

TEST(JobAggregationSpec, JobsWithoutItAreWhatTheyWere) {
  const std::string before = canonical_job_json(parsed(kGoodJob), kManifest);
  EXPECT_EQ(before.find("aggregation"), std::string::npos);
  EXPECT_EQ(before.find("numerics"), std::string::npos);
  EXPECT_EQ(json_of("aggregation: {}"), before);
  EXPECT_EQ(json_of("aggregation: {rule: mean}"), before);
  EXPECT_EQ(json_of("numerics: fastest"), before);
}

TEST(JobAggregationSpec, TakesWhatTheFileSays) {
  const JobSpec spec = parsed(with_more(
      "aggregation: {rule: multi_krum, f: 1, pre: [{clipping: {norm: 3}}, nnm, {bucketing: {size: "
      "1}}], unit: shard, convention: byzfl, q: 2}\nnumerics: pinned"));
  const model::Recipe& recipe = spec.aggregation.recipe;
  EXPECT_EQ(recipe.rule, model::Rule::kMultiKrum);
  EXPECT_EQ(recipe.f, 1u);
  EXPECT_EQ(recipe.pre, (std::vector<model::Pre>{model::Pre::kClipping, model::Pre::kNnm,
                                                 model::Pre::kBucketing}));
  EXPECT_EQ(recipe.clip_norm, 3);
  EXPECT_EQ(recipe.q, 2u);
  EXPECT_EQ(spec.aggregation.unit, AggregationUnit::kShard);
  EXPECT_EQ(spec.numerics, Numerics::kPinned);
}

TEST(JobAggregationSpec, CanonicalFormIsAJobFileWithEveryDefault) {
  const std::string json =
      json_of("aggregation: {rule: geometric_median, f: 1, pre: [nnm, {clipping: {}}]}");
  EXPECT_NE(json.find("\"aggregation\":{\"rule\":\"geometric_median\",\"f\":1,\"pre\":[\"nnm\",{"
                      "\"clipping\":{\"norm\":2}}],\"unit\":\"host\",\"nu\":0.1,\"iterations\":3}"),
            std::string::npos)
      << json;
  EXPECT_EQ(canonical_job_json(parsed(json), kManifest), json);
  for (const std::string_view rule :
       {"{rule: median, f: 1}", "{rule: krum}", "{rule: centered_clipping, tau: 3}",
        "{pre: [arc], f: 1}", "{rule: caf, f: 1, unit: shard}", "{rule: mda, f: 1}"}) {
    const std::string text = json_of("aggregation: " + std::string(rule));
    EXPECT_EQ(canonical_job_json(parsed(text), kManifest), text) << rule;
  }
}

TEST(JobAggregationSpec, NeedsAsManyHostsAsItsRule) {
  const auto hosts = [](const std::string& group) {
    return hosts_needed(parsed(with_more("aggregation: " + group)).aggregation);
  };
  EXPECT_EQ(hosts("{}"), 1u);
  EXPECT_EQ(hosts("{rule: trimmed_mean, f: 1}"), 3u);
  EXPECT_EQ(hosts("{rule: trimmed_mean, f: 1, unit: shard}"), 1u);
  EXPECT_EQ(hosts("{rule: multi_krum, convention: paper}"), 3u);
  EXPECT_EQ(hosts("{f: 2, pre: [nnm]}"), 3u);
  EXPECT_EQ(hosts("{rule: median, pre: [{bucketing: {size: 2}}]}"), 1u);
}

TEST(JobAggregationSpec, RefusesAStepWithTooFewWorkunits) {
  const std::string text = problems_of("aggregation: {rule: trimmed_mean, f: 2}");
  EXPECT_NE(text.find("aggregation.rule: is trimmed_mean, which needs at least 5 hosts in each "
                      "step (trimmed_mean needs 2f < n: f = 2, n = 4), but a step has 4 workunits"),
            std::string::npos)
      << text;
  EXPECT_NE(problems_of("aggregation: {rule: median, f: 1, pre: [{bucketing: {size: 2}}]}")
                .find("at least 5 hosts"),
            std::string::npos);
  const std::string many = with_line(5, "training: {steps: 4, batch: 4096, shard: 2}");
  EXPECT_NE(all_text(parse_job(many + "aggregation: {rule: median}\n").problems)
                .find("takes at most 1,024 vectors, but a step has 2,048 workunits"),
            std::string::npos);
}

TEST(JobAggregationSpec, SaysWhatIsWrong) {
  const auto has = [](std::string_view more, std::string_view words) {
    const std::string text = problems_of(more);
    EXPECT_NE(text.find(words), std::string::npos) << more << ": " << text;
  };
  has("aggregation: {rule: trimed_mean}", "did you mean 'trimmed_mean'?");
  has("aggregation: {rule: median, pre: [nmm]}", "aggregation.pre[0]: unknown pre-aggregation");
  has("aggregation: {rule: median, pre: [nnm, nnm]}", "aggregation.pre[1]: nnm stands here twice");
  has("aggregation: {rule: median, pre: [{bucketing: {}}]}", "aggregation.pre[0].size: is missing");
  has("aggregation: {rule: median, pre: [{clipping: {norm: 0}}]}", "aggregation.pre[0].norm: is");
  has("aggregation: {rule: median, pre: nnm}", "aggregation.pre: is 'nnm'; allowed: a list");
  has("aggregation: {rule: median, tau: 2}", "tau: belongs to centered_clipping");
  has("aggregation: {rule: median, q: 2}", "q: belongs to multi_krum");
  has("aggregation: {rule: median, convention: paper}", "convention: belongs to krum");
  has("aggregation: {f: 2}", "aggregation.f: means nothing to the mean over all samples");
  has("aggregation: {rule: median, unit: account}", "aggregation.unit: is 'account'");
  has("aggregation: {rule: median, seed: 2}", "unknown key 'seed'");
  has("aggregation: {rule: multi_krum, q: 9}", "needs at least 9 hosts");
  has("numerics: exact", "numerics: is 'exact'");
}

}  // namespace
}  // namespace mh::scheduler
