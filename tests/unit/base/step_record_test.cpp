// Step records: one way to write them, and every way to break their chain.
#include "proto/base/step_record.h"

#include <gtest/gtest.h>

#include "proto/base/file.h"

namespace mh {
namespace {

Digest digest_of(const std::string& text) { return sha256(std::string_view(text)); }

class StepRecordTest : public testing::Test {
 protected:
  // The record after those that were added.
  StepRecord next(RecordKind kind = RecordKind::kStep) {
    StepRecord record;
    record.job = JobId(3);
    record.job_digest = digest_of("job");
    record.sequence = chain.count();
    record.previous = chain.head();
    record.kind = kind;
    record.step = chain.count() == 0 ? 5 : chain.steps_done();
    record.parameters_before = digest_of(parameters);
    record.optimizer_before = optimizer.empty() ? Digest{} : digest_of(optimizer);
    parameters += "+";
    optimizer += "+";
    record.parameters_after = digest_of(parameters);
    record.optimizer_after = digest_of(optimizer);
    record.sample_count = 12;
    record.loss = 0.1;
    record.accuracy = -1;
    record.gradient_norm = 1e-7;
    record.learning_rate = 0.05;
    record.time_ms = 1'764'000'000'000;
    record.updates = {{48, 56, digest_of("a"), "00112233445566ff"},
                      {60, 64, digest_of("b"), "0011223344556677"}};
    return record;
  }
  Result<StepRecord> add(const StepRecord& record) { return chain.add(to_json(record)); }
  std::string refusal(const StepRecord& record) {
    const auto taken = add(record);
    return taken ? "" : taken.error().message;
  }

  RecordChain chain;
  std::string parameters = "parameters";
  std::string optimizer;
};

TEST_F(StepRecordTest, IsCanonicalJson) {
  const StepRecord record = next();
  const std::string json = to_json(record);
  EXPECT_TRUE(json.starts_with("{\"format\":\"manyhands-record/1\",\"job\":3,\"job_digest\":\""));
  EXPECT_NE(json.find("\"previous\":\"\",\"kind\":\"step\",\"step\":5,"), std::string::npos);
  EXPECT_NE(json.find("\"rule\":\"mean\",\"samples\":12,\"loss\":0.1,\"accuracy\":-1,"
                      "\"gradient_norm\":1e-07,\"learning_rate\":0.05,\"time_ms\":1764000000000,"
                      "\"updates\":[{\"begin\":48,\"end\":56,\"update\":\""),
            std::string::npos)
      << json;
  const auto again = parse_step_record(json);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, record);
}

TEST_F(StepRecordTest, IsWrittenAsInTheFirstRelease) {
  const auto golden = read_file(MH_SOURCE_DIR "/tests/golden/step_record_v1.json", 10'000);
  ASSERT_TRUE(golden) << golden.error().message;
  EXPECT_EQ(to_json(next()), *golden);
}

TEST_F(StepRecordTest, ARewindSaysWhy) {
  StepRecord record = next(RecordKind::kRewind);
  record.reason = "host 3 lied:\n\"x\"";
  const auto again = parse_step_record(to_json(record));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->reason, record.reason);
}

TEST_F(StepRecordTest, RefusesWhatIsNotExactlyIt) {
  const std::string json = to_json(next());
  const auto replaced = [&json](std::string_view what, std::string_view by) {
    std::string text = json;
    const auto place = text.find(what);
    EXPECT_NE(place, std::string::npos) << what;
    return text.replace(place, what.size(), by);
  };
  EXPECT_TRUE(parse_step_record(json));
  for (const std::string& bad : {
           std::string(),
           std::string("[]"),
           json + " ",
           json.substr(1),
           replaced("manyhands-record/1", "manyhands-record/2"),
           replaced("\"job\":3", "\"job\":03"),
           replaced("\"job\":3", "\"job\":-3"),
           replaced("\"job\":3", "\"job\":3.0"),
           replaced("\"job\":3", "\"job\":99999999999999999999"),
           replaced("\"kind\":\"step\"", "\"kind\":\"leap\""),
           replaced("\"samples\":12", "\"samples\":13"),
           replaced("\"loss\":0.1", "\"loss\":0.10"),
           replaced("\"loss\":0.1", "\"loss\":null"),
           replaced("00112233445566ff", "00112233445566FF"),
           replaced("00112233445566ff", "00112233445566f"),
           replaced("\"begin\":60", "\"begin\":50"),
           replaced("\"begin\":60", "\"begin\":64"),
           replaced("\"updates\"", "\"extra\":1,\"updates\""),
       }) {
    EXPECT_FALSE(parse_step_record(bad)) << bad;
  }
}

TEST_F(StepRecordTest, AChainIsFollowed) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(refusal(next()), "");
  EXPECT_EQ(chain.count(), 3U);
  EXPECT_EQ(chain.first_step(), 5U);
  EXPECT_EQ(chain.steps_done(), 8U);
  EXPECT_EQ(chain.sequence_of(6), 1U);
  EXPECT_EQ(chain.sequence_of(4), std::nullopt);
  EXPECT_EQ(chain.sequence_of(8), std::nullopt);
}

TEST_F(StepRecordTest, ABrokenChainIsFoundOut) {
  ASSERT_EQ(refusal(next()), "");
  const StepRecord good = next();
  StepRecord bad = good;
  ++bad.sequence;
  EXPECT_NE(refusal(bad).find("sequence number"), std::string::npos);
  bad = good;
  bad.previous = digest_of("other");
  EXPECT_NE(refusal(bad).find("follows"), std::string::npos);
  bad = good;
  bad.step = 7;
  EXPECT_NE(refusal(bad).find("it is of step 7, expected 6"), std::string::npos);
  bad = good;
  bad.parameters_before = digest_of("other");
  EXPECT_NE(refusal(bad).find("starts from parameters"), std::string::npos);
  bad = good;
  bad.optimizer_before = digest_of("other");
  EXPECT_NE(refusal(bad).find("optimizer state"), std::string::npos);
  bad = good;
  bad.job_digest = digest_of("other");
  EXPECT_NE(refusal(bad).find("job_digest"), std::string::npos);
  bad = good;
  bad.job = JobId(4);
  EXPECT_NE(refusal(bad).find("of job 4"), std::string::npos);
  EXPECT_EQ(refusal(good), "");
}

TEST_F(StepRecordTest, ARewindPutsAnotherStepInThePlaceOfOne) {
  StepRecord second;
  for (int i = 0; i < 4; ++i) {
    const StepRecord record = next();
    if (i == 1) second = record;
    ASSERT_EQ(refusal(record), "");
  }
  StepRecord rewind = next(RecordKind::kRewind);
  rewind.reason = "why";
  rewind.step = 6;
  EXPECT_NE(refusal(rewind).find("starts from parameters"), std::string::npos);
  rewind.parameters_before = second.parameters_before;
  rewind.optimizer_before = second.optimizer_before;
  EXPECT_EQ(refusal(rewind), "");
  EXPECT_EQ(chain.steps_done(), 7U);
  EXPECT_EQ(chain.sequence_of(6), 4U);
  EXPECT_EQ(refusal(next(RecordKind::kReapply)), "");
  EXPECT_EQ(chain.sequence_of(7), 5U);
  rewind = next(RecordKind::kRewind);
  rewind.reason = "why";
  rewind.step = 4;
  EXPECT_NE(refusal(rewind).find("not among those"), std::string::npos);
}

TEST(HostPseudonym, IsOfOneJobAndOneSecret) {
  const Digest secret = digest_of("secret");
  const std::string name = host_pseudonym(secret, JobId(1), HostId(2));
  EXPECT_EQ(name.size(), 16U);
  EXPECT_EQ(name, host_pseudonym(secret, JobId(1), HostId(2)));
  EXPECT_NE(name, host_pseudonym(secret, JobId(2), HostId(2)));
  EXPECT_NE(name, host_pseudonym(secret, JobId(1), HostId(3)));
  EXPECT_NE(name, host_pseudonym(digest_of("other"), JobId(1), HostId(2)));
}

}  // namespace
}  // namespace mh
