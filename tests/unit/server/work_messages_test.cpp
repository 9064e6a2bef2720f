// What hosts send is bounded and checked field by field.
#include "server/work_messages.h"

#include <gtest/gtest.h>

namespace mh::server {
namespace {

std::string refusal(const v1::ExchangeRequest& request) {
  const auto event = to_event(request);
  if (event.has_value()) return "accepted";
  EXPECT_EQ(event.error().code, Errc::kInvalidArgument);
  return event.error().message;
}

TEST(WorkMessages, ReadAnExchange) {
  v1::ExchangeRequest request;
  v1::ResultReport& report = *request.add_reports();
  report.set_result_id(7);
  report.set_outcome(v1::OUTCOME_SUCCESS);
  report.set_update_digest(sha256(std::string_view("x")).raw());
  report.set_loss_sum(1.5);
  request.add_held_result_ids(8);
  request.set_wanted_count(2);
  const auto event = to_event(request);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->reports.at(0).result, ResultId(7));
  EXPECT_EQ(event->reports.at(0).update_digest, sha256(std::string_view("x")));
  EXPECT_EQ(event->held.at(0), ResultId(8));
  EXPECT_EQ(event->wanted, 2u);
  EXPECT_FALSE(event->description.has_value());
}

TEST(WorkMessages, RefuseTooMuchOfAnything) {
  v1::ExchangeRequest reports;
  for (int i = 0; i <= kReportsMax; ++i) reports.add_reports()->set_outcome(v1::OUTCOME_FAILED);
  EXPECT_EQ(refusal(reports), "reports: 65 entries, limit is 64");
  v1::ExchangeRequest held;
  for (int i = 0; i <= kHeldMax; ++i) held.add_held_result_ids(1);
  EXPECT_EQ(refusal(held), "held_result_ids: 257 entries, limit is 256");
  v1::ExchangeRequest wanted;
  wanted.set_wanted_count(17);
  EXPECT_EQ(refusal(wanted), "wanted_count: 17, limit is 16");
}

TEST(WorkMessages, RefuseADigestOfAnotherLength) {
  v1::ExchangeRequest request;
  v1::ResultReport& report = *request.add_reports();
  report.set_outcome(v1::OUTCOME_SUCCESS);
  report.set_update_digest("short");
  EXPECT_NE(refusal(request).find("update_digest"), std::string::npos);
}

TEST(WorkMessages, RefuseAnOutcomeThatIsNone) {
  v1::ExchangeRequest request;
  request.add_reports();
  EXPECT_NE(refusal(request).find("outcome 0"), std::string::npos);
}

TEST(WorkMessages, CutAnErrorTextBetweenCharacters) {
  v1::ExchangeRequest request;
  v1::ResultReport& report = *request.add_reports();
  report.set_outcome(v1::OUTCOME_FAILED);
  std::string text(511, 'x');
  report.set_error(text + "ä" + text);
  EXPECT_EQ(to_event(request)->reports.at(0).error, text);
}

TEST(WorkMessages, RefuseNamesThatWouldSpoilATerminal) {
  v1::HostDescription description;
  description.set_name("\x1b[31mred");
  EXPECT_FALSE(to_description(description).has_value());
  description.set_name(std::string(65, 'x'));
  EXPECT_EQ(to_description(description).error().message, "description.name: 65 bytes, limit is 64");
}

}  // namespace
}  // namespace mh::server
