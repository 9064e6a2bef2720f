// The reference run: the same digests twice, a recorded trajectory, and models written and read
// again.
#include "trainer/engine/reference.h"

#include <cmath>

#include "proto/base/file.h"
#include "tests/unit/engine/engine_fixture.h"
#include "tests/unit/engine/job_fixture.h"
#include "trainer/engine/model_file.h"

namespace mh::engine {
namespace {

class Reference : public JobFolder {
 protected:
  Result<ReferenceOutcome> run(std::uint64_t steps = 1'000) {
    Result<JobFiles> found = files();
    EXPECT_TRUE(found) << (found ? "" : found.error().message);
    Result<std::unique_ptr<LoadedJob>> job =
        LoadedJob::load(std::move(*found), cpu(), 1, update::ChunkCheck::kDigest);
    EXPECT_TRUE(job) << (job ? "" : job.error().message);
    steps_.clear();
    return run_reference(**job, steps, [&](const ReferenceStep& step) { steps_.push_back(step); });
  }

  std::vector<ReferenceStep> steps_;
};

TEST_F(Reference, GivesTheSameDigestsTwice) {
  const Result<ReferenceOutcome> first = run();
  ASSERT_TRUE(first) << first.error().message;
  const std::vector<ReferenceStep> steps = steps_;
  ASSERT_EQ(steps.size(), 6U);
  ASSERT_TRUE(run());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].parameters_digest, steps_[i].parameters_digest) << i;
    EXPECT_EQ(steps[i].loss, steps_[i].loss) << i;
    EXPECT_EQ(steps[i].step, i + 1);
  }
  EXPECT_EQ(first->evaluation->sample_count, 20U);
}

TEST_F(Reference, OfFewerStepsIsTheBeginningOfTheWhole) {
  ASSERT_TRUE(run());
  const std::vector<ReferenceStep> whole = steps_;
  const Result<ReferenceOutcome> outcome = run(2);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->steps_done, 2U);
  ASSERT_EQ(steps_.size(), 2U);
  EXPECT_EQ(steps_[1].parameters_digest, whole[1].parameters_digest);
}

// Recorded with these sources; another processor may differ in the last bits, not more.
TEST_F(Reference, FollowsTheRecordedTrajectory) {
  ASSERT_TRUE(run());
  const std::vector<double> recorded = {1.924121, 1.778220, 1.606129, 1.247751, 1.168646, 0.913001};
  ASSERT_EQ(steps_.size(), recorded.size());
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    EXPECT_NEAR(steps_[i].loss, recorded[i], 1e-4) << i;
  }
}

TEST_F(Reference, EndsWithAClearErrorWhenTheLossIsNoNumber) {
  std::string text = job_text("{kind: sgd, learning_rate: 1000, weight_decay: 1}");
  text.replace(text.find("steps: 6"), 8, "steps: 60");
  write("job.yaml", text);
  const Result<ReferenceOutcome> outcome = run();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kOutOfRange);
  EXPECT_NE(outcome.error().message.find("step "), std::string::npos) << outcome.error().message;
  EXPECT_NE(outcome.error().message.find("learning_rate"), std::string::npos);
}

TEST_F(Reference, RefusesAChunkThatIsNotWhatItsNameSays) {
  const Digest digest = manifest_.splits["train"].chunks[0].digest;
  write("data/" + digest.hex(), std::string(manifest_.splits["train"].chunks[0].bytes, 'x'));
  const Result<ReferenceOutcome> outcome = run();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kDataLoss);
  EXPECT_NE(outcome.error().message.find(digest.hex()), std::string::npos);
}

TEST_F(Reference, AJobOfMoreThreadsThanAllowedIsRefused) {
  write("job.yaml", job_text() + "threads: 3\n");
  Result<JobFiles> found = files();
  ASSERT_TRUE(found) << found.error().message;
  const auto job = LoadedJob::load(std::move(*found), cpu(), 2, update::ChunkCheck::kDigest);
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, Errc::kFailedPrecondition);
  EXPECT_NE(job.error().message.find("3 threads"), std::string::npos);
}

TEST_F(Reference, WritesAModelThatIsReadBackBitForBit) {
  const Result<ReferenceOutcome> outcome = run();
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(write_model_file(path("model"), *files(), outcome->parameters));
  const std::vector<std::string> data = {path("data").string()};
  const Result<ModelOnData> model = read_model_file(path("model"), data);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(is_same_bits(model->parameters, outcome->parameters));
  EXPECT_EQ(model->note, "");
  const Result<ReadyModel> ready = load_model(*model, "test", cpu());
  ASSERT_TRUE(ready) << ready.error().message;
  const Result<Sums> sums = ready->engine->evaluate(*ready->samples, 0, 20);
  ASSERT_TRUE(sums);
  EXPECT_EQ(sums->correct_count, outcome->evaluation->correct_count);
  EXPECT_FALSE(load_model(*model, "val", cpu()));
}

TEST_F(Reference, RefusesModelFilesThatDoNotFit) {
  const Result<ReferenceOutcome> outcome = run(1);
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(write_model_file(path("model"), *files(), outcome->parameters));
  const std::string good = *read_file(path("model"), 1 << 20);
  const std::vector<std::string> data = {path("data").string()};
  const auto refused = [&](const std::string& content) {
    write("bad", content);
    return !read_model_file(path("bad"), data);
  };
  EXPECT_TRUE(refused(good.substr(0, good.size() - 4)));
  EXPECT_TRUE(refused(good + "1234"));
  EXPECT_TRUE(refused(""));
  std::string renamed = good;
  renamed.replace(renamed.find("\"1.weight\""), 10, "\"9.weight\"");
  EXPECT_TRUE(refused(renamed));
  std::string without_job = good;
  without_job.replace(without_job.find("\"job\""), 5, "\"jab\"");
  EXPECT_TRUE(refused(without_job));
  EXPECT_FALSE(refused(good));
}

}  // namespace
}  // namespace mh::engine
