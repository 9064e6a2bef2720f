// Frames between daemon and trainer, and what a server says, as hostile as they may be.
#include "client/daemon/trainer_messages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "client/daemon/wire.h"

namespace mh::client {
namespace {

std::string framed(const std::string& body) {
  const auto length = static_cast<std::uint32_t>(body.size());
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &length, 4);
  return bytes + body;
}

TEST(FrameCutter, CutsFramesHoweverTheyArrive) {
  FrameCutter cutter;
  const std::string stream = framed("one") + framed("") + framed("three");
  std::vector<std::string> frames;
  for (const char byte : stream) {
    cutter.add(std::string_view(&byte, 1));
    auto frame = cutter.next();
    ASSERT_TRUE(frame.has_value());
    if (*frame) frames.push_back(**frame);
  }
  EXPECT_EQ(frames, (std::vector<std::string>{"one", "", "three"}));
}

TEST(FrameCutter, RefusesALengthBeyondTheLimitBeforeReadingIt) {
  FrameCutter cutter;
  cutter.add(std::string_view("\xff\xff\xff\x7f", 4));
  EXPECT_EQ(cutter.next().error().code, Errc::kInvalidArgument);
}

TEST(TrainerMessages, AComputeFrameNamesFilesAndRange) {
  Assignment assignment;
  assignment.result = ResultId(81);
  assignment.begin = 32;
  assignment.end = 64;
  assignment.split = "train";
  const std::string frame = compute_frame(assignment, {"/c", "/w"});
  const auto json = nlohmann::json::parse(frame.substr(4));
  EXPECT_EQ(json["type"], "compute");
  EXPECT_EQ(json["kind"], "gradient");
  EXPECT_EQ(json["update_path"], "/w/81.update");
  EXPECT_EQ(json["parameters_path"], "/c/" + Digest().hex());
  EXPECT_EQ(json["chunk_dir"], "/c");
  EXPECT_EQ(json["end"], 64);
}

TEST(TrainerMessages, ReadsWhatTheTrainerSays) {
  const auto ready = parse_trainer_message(
      R"({"type":"ready","device":"cpu","device_model":"X","threads":4,"note":"no CUDA"})");
  ASSERT_TRUE(ready.has_value());
  EXPECT_EQ(std::get<TrainerReady>(*ready).threads, 4u);
  const std::string done = R"({"type":"done","result_id":7,"loss_sum":1.25,"correct_count":3,)"
                           R"("compute_ms":9,"update_bytes":10,"update_digest":")" +
                           Digest().hex() + R"("})";
  const auto parsed = parse_trainer_message(done);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(std::get<TrainerDone>(*parsed).loss_sum, 1.25);
  const auto diverged = parse_trainer_message(
      R"({"type":"done","result_id":7,"loss_sum":null,"correct_count":0,"compute_ms":9,)"
      R"("update_bytes":0,"update_digest":""})");
  ASSERT_TRUE(diverged.has_value());
  EXPECT_TRUE(std::isnan(std::get<TrainerDone>(*diverged).loss_sum));
}

TEST(TrainerMessages, RefusesWhatIsNoMessage) {
  for (const char* text :
       {"", "[]", "{}", R"({"type":"dance"})", R"({"type":"done","result_id":-1})",
        R"({"type":"failed","result_id":"7","error":"x"})", R"({"type":"progress","result_id":1})",
        R"({"type":"done","result_id":7,"loss_sum":1,"correct_count":3,"compute_ms":9,)"
        R"("update_bytes":10,"update_digest":"zz"})"}) {
    const auto message = parse_trainer_message(text);
    ASSERT_FALSE(message.has_value()) << text;
    EXPECT_EQ(message.error().code, Errc::kInvalidArgument);
  }
}

TEST(Wire, AssignmentsAreCheckedFieldByField) {
  manyhands::v1::ExchangeResponse response;
  auto& good = *response.add_assignments();
  good.set_result_id(1);
  good.set_kind(manyhands::v1::WORK_KIND_GRADIENT);
  good.set_job_digest(std::string(32, 'j'));
  good.set_parameters_digest(std::string(32, 'p'));
  good.set_manifest_digest(std::string(32, 'm'));
  good.set_end(32);
  good.set_split("train");
  good.set_lease_ms(~0ull);
  good.set_job_name("a\x1b[31mb");
  auto short_digest = good;
  short_digest.set_result_id(2);
  short_digest.set_parameters_digest("short");
  auto empty = good;
  empty.set_result_id(3);
  empty.set_begin(32);
  auto unknown = good;
  unknown.set_result_id(4);
  unknown.set_kind(static_cast<manyhands::v1::WorkKind>(77));
  for (const auto& one : {short_digest, empty, unknown}) *response.add_assignments() = one;
  response.add_assignments();  // without a result id: nobody could report it
  response.set_backoff_ms(~0u);
  const ExchangeReply reply = from_message(response);
  ASSERT_EQ(reply.assignments.size(), 4u);
  EXPECT_EQ(reply.assignments[0].problem, "");
  EXPECT_EQ(reply.assignments[0].job_name, "a [31mb");
  EXPECT_EQ(reply.assignments[0].lease, std::chrono::hours(30 * 24));
  EXPECT_EQ(reply.assignments[1].problem,
            "parameters_digest of the assignment has 5 bytes instead of 32");
  EXPECT_EQ(reply.assignments[2].problem, "the workunit is empty: begin 32, end 32");
  EXPECT_NE(reply.assignments[3].problem.find("kind 77"), std::string::npos);
  EXPECT_LE(reply.backoff, std::chrono::hours(1));
}

TEST(Wire, ReportsCarryWhatTheyMust) {
  ExchangeCall call;
  Report report;
  report.result = ResultId(5);
  report.outcome = Outcome::kSuccess;
  report.update_bytes = 10;
  report.loss_sum = 2.5;
  call.reports.push_back(report);
  call.held = {ResultId(6)};
  call.wanted = 1;
  call.wait = std::chrono::seconds(25);
  const auto message = to_message(call);
  EXPECT_EQ(message.reports(0).outcome(), manyhands::v1::OUTCOME_SUCCESS);
  EXPECT_EQ(message.reports(0).update_digest().size(), 32u);
  EXPECT_EQ(message.held_result_ids(0), 6u);
  EXPECT_EQ(message.max_wait_ms(), 25000u);
  EXPECT_FALSE(message.has_description());
}

// A message with half a character is refused whole, and the client would repeat it for ever.
TEST(Wire, ErrorsAreNotCutInsideACharacter) {
  ExchangeCall call;
  Report report;
  report.outcome = Outcome::kFailed;
  report.error = std::string(499, 'x') + "\xC3\xA9 and more";
  call.reports.push_back(report);
  EXPECT_EQ(to_message(call).reports(0).error(), std::string(499, 'x'));
}

}  // namespace
}  // namespace mh::client
