// Both sides of the pipe speak alike: the daemon's frames as the trainer reads them, and the other
// way round.
#include <gtest/gtest.h>

#include "client/daemon/trainer_messages.h"
#include "trainer/engine/frames.h"
#include "trainer/engine/serve_messages.h"

namespace mh::engine {
namespace {

client::Assignment assignment(client::WorkKind kind) {
  client::Assignment work;
  work.result = ResultId(42);
  work.kind = kind;
  work.step = 3;
  work.begin = 16;
  work.end = 32;
  work.split = kind == client::WorkKind::kGradient ? "train" : "test";
  work.job_digest = sha256("job");
  work.parameters_digest = sha256("parameters");
  work.manifest_digest = sha256("manifest");
  return work;
}

/// The body of a daemon's frame.
std::string body_of(const std::string& frame) {
  client::FrameCutter cutter;
  cutter.add(frame);
  return cutter.next().value().value();
}

TEST(DaemonAndTrainer, AgreeOnWorkunits) {
  const client::TrainerFolders folders{"/cache", "/work"};
  for (const auto kind : {client::WorkKind::kGradient, client::WorkKind::kEvaluation}) {
    const client::Assignment work = assignment(kind);
    const Result<Request> request = parse_request(body_of(client::compute_frame(work, folders)));
    ASSERT_TRUE(request) << request.error().message;
    const auto* compute = std::get_if<ComputeRequest>(&*request);
    ASSERT_NE(compute, nullptr) << std::get<BadRequest>(*request).error;
    EXPECT_EQ(compute->result_id, 42U);
    EXPECT_EQ(compute->is_gradient, kind == client::WorkKind::kGradient);
    EXPECT_EQ(compute->job_path, folders.blob(work.job_digest));
    EXPECT_EQ(compute->job_digest, work.job_digest);
    EXPECT_EQ(compute->parameters_path, folders.blob(work.parameters_digest));
    EXPECT_EQ(compute->manifest_digest, work.manifest_digest);
    EXPECT_EQ(compute->chunk_dir, "/cache");
    EXPECT_EQ(compute->step, 3U);
    EXPECT_EQ(compute->begin, 16U);
    EXPECT_EQ(compute->end, 32U);
    EXPECT_EQ(compute->split, work.split);
    EXPECT_EQ(compute->update_path, compute->is_gradient ? folders.update(work.result) : "");
  }
  EXPECT_EQ(std::get<CancelRequest>(*parse_request(body_of(client::cancel_frame(ResultId(42)))))
                .result_id,
            42U);
  EXPECT_TRUE(std::holds_alternative<ExitRequest>(*parse_request(body_of(client::exit_frame()))));
}

TEST(DaemonAndTrainer, AgreeOnAnswers) {
  Device device;
  device.model = "a processor";
  device.note = "no card";
  device.threads = 4;
  const auto ready = client::parse_trainer_message(ready_message(device));
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_EQ(std::get<client::TrainerReady>(*ready).device, "cpu");
  EXPECT_EQ(std::get<client::TrainerReady>(*ready).threads, 4U);

  Computed computed;
  computed.sums = {1.25, 7, 16};
  computed.compute_ms = 9;
  computed.update_bytes = 96;
  computed.update_digest = sha256("update");
  const auto done = client::parse_trainer_message(done_message(42, computed));
  ASSERT_TRUE(done) << done.error().message;
  const auto& fields = std::get<client::TrainerDone>(*done);
  EXPECT_EQ(fields.result, ResultId(42));
  EXPECT_EQ(fields.loss_sum, 1.25);
  EXPECT_EQ(fields.correct_count, 7U);
  EXPECT_EQ(fields.compute_ms, 9U);
  EXPECT_EQ(fields.update_bytes, 96U);
  EXPECT_EQ(fields.update_digest, computed.update_digest);
  computed.update_bytes = 0;
  EXPECT_TRUE(client::parse_trainer_message(done_message(42, computed)));

  const auto progress = client::parse_trainer_message(progress_message(42, 8, 16));
  ASSERT_TRUE(progress);
  EXPECT_EQ(std::get<client::TrainerProgress>(*progress).samples_done, 8U);
  const auto failed = client::parse_trainer_message(failed_message(42, "no disk"));
  ASSERT_TRUE(failed);
  EXPECT_EQ(std::get<client::TrainerFailure>(*failed).error, "no disk");
}

TEST(DaemonAndTrainer, AgreeOnTheLongestFrame) {
  EXPECT_EQ(client::kFrameBytesMax, std::size_t{kFrameBytesMax});
}

}  // namespace
}  // namespace mh::engine
