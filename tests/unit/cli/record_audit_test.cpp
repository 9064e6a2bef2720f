// Pages of step records, honest and not.
#include "client/cli/record_audit.h"

#include <gtest/gtest.h>

#include <functional>
#include <span>

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

std::string raw(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class RecordAuditTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kSteps = 5;

  RecordAuditTest() {
    rule.training.batch = 8;
    rule.training.shard = 4;
    rule.step.optimizer.learning_rate = 0.1;
    rule.step.step_count = 10;
    make();
  }
  // Honest records, unless somebody changes them.
  void make() {
    records.clear();
    Digest previous;
    for (std::uint64_t step = 0; step < kSteps; ++step) {
      StepRecord record;
      record.job = JobId(1);
      record.job_digest = sha256("job");
      record.sequence = step;
      record.previous = previous;
      record.step = step;
      record.parameters_before = sha256("parameters " + std::to_string(step));
      record.parameters_after = sha256("parameters " + std::to_string(step + 1));
      record.sample_count = 8;
      record.learning_rate = 0.1;
      record.updates = {{8 * step, 8 * step + 4, sha256("a"), "0123456789abcdef"},
                        {8 * step + 4, 8 * step + 8, sha256("b"), "0123456789abcdef"}};
      if (change) change(record);
      records.push_back(to_json(record));
      previous = sha256(records.back());
    }
  }
  v1::ListStepRecordsResponse page(std::uint64_t from, std::uint64_t count) const {
    v1::ListStepRecordsResponse made;
    for (std::uint64_t i = from; i < from + count && i < records.size(); ++i) {
      v1::StepRecord& record = *made.add_records();
      record.set_record(records[i]);
      record.set_signature(raw(key.sign(signed_text(sha256(records[i])))));
    }
    made.set_record_count(records.size());
    made.set_head_digest(sha256(records.back()).raw());
    made.set_retained_from(3);
    made.set_public_key(raw(key.public_key()));
    return made;
  }
  RecordAudit audit(std::optional<PublicKey> expected = std::nullopt) const {
    RecordAudit made(expected);
    made.set_rule(rule);
    return made;
  }
  std::string problem(const v1::ListStepRecordsResponse& whole) const {
    RecordAudit audited = audit();
    const auto found = audited.take(whole);
    return found ? found->text() : "";
  }

  SigningKey key = SigningKey::make();
  update::JobRule rule;
  std::function<void(StepRecord&)> change;
  std::vector<std::string> records;
};

TEST_F(RecordAuditTest, HonestPagesPass) {
  RecordAudit audited = audit(key.public_key());
  EXPECT_FALSE(audited.take(page(0, 2)));
  EXPECT_FALSE(audited.is_complete());
  EXPECT_FALSE(audited.take(page(audited.next(), 2)));
  EXPECT_FALSE(audited.take(page(audited.next(), 2)));
  EXPECT_TRUE(audited.is_complete());
  EXPECT_EQ(audited.chain().steps_done(), kSteps);
  ASSERT_EQ(audited.kept().size(), 2U);
  EXPECT_EQ(audited.kept().front().step, 3U);
  EXPECT_EQ(audited.kept().front().digest, sha256(records[3]));
}

TEST_F(RecordAuditTest, AWrongSignatureIsNamed) {
  v1::ListStepRecordsResponse bad = page(0, 5);
  (*bad.mutable_records(2)->mutable_signature())[7] ^= 1;
  const std::string text = problem(bad);
  EXPECT_NE(text.find("step 2, record " + sha256(records[2]).hex()), std::string::npos) << text;
  EXPECT_NE(text.find("is not signed by key"), std::string::npos) << text;
  bad.mutable_records(2)->clear_signature();
  EXPECT_NE(problem(bad).find("is not signed by key"), std::string::npos);
}

TEST_F(RecordAuditTest, AnotherKeyIsNotBelieved) {
  RecordAudit audited = audit(SigningKey::make().public_key());
  EXPECT_NE(audited.take(page(0, 5))->text().find("the server signs with key"), std::string::npos);
  v1::ListStepRecordsResponse bad = page(0, 5);
  bad.set_public_key("short");
  EXPECT_NE(problem(bad).find("names no public key"), std::string::npos);
}

TEST_F(RecordAuditTest, ALeftOutOrRepeatedRecordIsFound) {
  RecordAudit audited = audit();
  ASSERT_FALSE(audited.take(page(0, 2)));
  EXPECT_NE(audited.take(page(3, 2))->text().find("breaks the chain"), std::string::npos);
  RecordAudit again = audit();
  ASSERT_FALSE(again.take(page(0, 2)));
  EXPECT_NE(again.take(page(1, 2))->text().find("breaks the chain"), std::string::npos);
}

TEST_F(RecordAuditTest, AnEndThatIsNoneIsFound) {
  v1::ListStepRecordsResponse bad = page(0, 5);
  bad.set_head_digest(sha256("other").raw());
  EXPECT_NE(problem(bad).find("newest record"), std::string::npos);
  bad = page(0, 0);
  EXPECT_NE(problem(bad).find("says that there are 5 records, and gives 0"), std::string::npos);
}

TEST_F(RecordAuditTest, WhatTheJobDoesNotSayIsFound) {
  const auto found = [this](std::function<void(StepRecord&)> with) {
    change = std::move(with);
    make();
    return problem(page(0, 5));
  };
  EXPECT_NE(found([](StepRecord& r) { r.learning_rate = 0.2; }).find("learning rate"),
            std::string::npos);
  EXPECT_NE(found([](StepRecord& r) {
              r.updates.pop_back();
              r.sample_count = 4;
            }).find("counts 4 samples"),
            std::string::npos);
  EXPECT_NE(found([](StepRecord& r) {
              for (auto& update : r.updates) {
                update.begin += 8;
                update.end += 8;
              }
            }).find("no shard of the step"),
            std::string::npos);
  EXPECT_NE(found([](StepRecord& r) {
              r.updates[0].end -= 1;
              r.updates[1].begin -= 1;
            }).find("no shard of the step"),
            std::string::npos);
}

TEST_F(RecordAuditTest, ASayOfWhereIsReadable) {
  AuditFinding found;
  found.step = 7;
  found.shard = 3;
  found.what = "update";
  found.digest = "12ab";
  found.problem = "it is wrong";
  EXPECT_EQ(found.text(), "step 7, shard 3, update 12ab: it is wrong");
}

}  // namespace
}  // namespace mh::cli
