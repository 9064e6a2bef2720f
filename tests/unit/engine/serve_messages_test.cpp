// Messages of the daemon as they are parsed; both sides' JSON is fixed in docs/file-formats.md.
#include "trainer/engine/serve_messages.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mh::engine {
namespace {

std::string compute_text(const std::string& kind, const std::string& more = "") {
  const std::string digest(64, 'a');
  return R"({"type":"compute","result_id":7,"kind":")" + kind +
         R"(","job_path":"/c/j","job_digest":")" + digest +
         R"(","parameters_path":"/c/p","parameters_digest":")" + digest +
         R"(","manifest_path":"/c/m","manifest_digest":")" + digest +
         R"(","chunk_dir":"/c","step":3,"begin":16,"end":32,"split":"train")" + more + "}";
}

TEST(ParseRequest, ReadsAGradientWorkunit) {
  const Result<Request> request =
      parse_request(compute_text("gradient", R"(,"update_path":"/w/7.update")"));
  ASSERT_TRUE(request) << request.error().message;
  const auto& compute = std::get<ComputeRequest>(*request);
  EXPECT_EQ(compute.result_id, 7U);
  EXPECT_TRUE(compute.is_gradient);
  EXPECT_EQ(compute.job_path, "/c/j");
  EXPECT_EQ(compute.step, 3U);
  EXPECT_EQ(compute.begin, 16U);
  EXPECT_EQ(compute.end, 32U);
  EXPECT_EQ(compute.update_path, "/w/7.update");
}

TEST(ParseRequest, AnEvaluationNeedsNoUpdatePath) {
  const Result<Request> request = parse_request(compute_text("evaluation"));
  ASSERT_TRUE(request);
  EXPECT_FALSE(std::get<ComputeRequest>(*request).is_gradient);
}

TEST(ParseRequest, AWorkunitWithAFlawIsAnsweredAndNotTheEndOfTheStream) {
  const auto flaw_of = [](const std::string& text) {
    const Result<Request> request = parse_request(text);
    EXPECT_TRUE(request) << text;
    const auto* bad = request ? std::get_if<BadRequest>(&*request) : nullptr;
    EXPECT_NE(bad, nullptr) << text;
    return bad != nullptr && bad->result_id == 7 ? bad->error : std::string();
  };
  EXPECT_NE(flaw_of(compute_text("gradient")).find("update_path"), std::string::npos);
  EXPECT_NE(flaw_of(compute_text("guess")).find("guess"), std::string::npos);
  std::string text = compute_text("evaluation");
  text.replace(text.find("\"begin\":16"), 10, "\"begin\":32");
  EXPECT_NE(flaw_of(text).find("32"), std::string::npos);
  text.replace(text.find("\"begin\":32"), 10, "\"begin\":-1");
  EXPECT_NE(flaw_of(text).find("begin"), std::string::npos);
  EXPECT_NE(flaw_of(R"({"type":"compute","result_id":7})"), "");
}

TEST(ParseRequest, WhatIsNoMessageIsAnError) {
  for (const char* text : {"", "{", "[]", "{}", R"({"type":"dance"})", R"({"type":"compute"})",
                           R"({"type":"cancel","result_id":"7"})"}) {
    EXPECT_FALSE(parse_request(text)) << text;
  }
  EXPECT_TRUE(std::holds_alternative<ExitRequest>(*parse_request(R"({"type":"exit"})")));
  EXPECT_EQ(std::get<CancelRequest>(*parse_request(R"({"type":"cancel","result_id":9})")).result_id,
            9U);
}

TEST(Messages, AreOneJsonObjectEach) {
  Computed computed;
  computed.sums.loss_sum = std::nan("");
  EXPECT_EQ(done_message(7, computed),
            R"({"compute_ms":0,"correct_count":0,"loss_sum":null,"result_id":7,"type":"done",)"
            R"("update_bytes":0,"update_digest":""})");
  EXPECT_EQ(progress_message(7, 1, 2),
            R"({"result_id":7,"samples":2,"samples_done":1,"type":"progress"})");
  EXPECT_LT(failed_message(7, std::string(1 << 20, 'x')).size(), 3'000U);
  EXPECT_EQ(failed_message(7, "\xff").find('\xff'), std::string::npos);
}

}  // namespace
}  // namespace mh::engine
