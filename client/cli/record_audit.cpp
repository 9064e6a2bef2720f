// See record_audit.h.
#include "client/cli/record_audit.h"

#include "trainer/update/optimizer.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

AuditFinding finding(std::string problem) {
  AuditFinding found;
  found.what = "record";
  found.problem = std::move(problem);
  return found;
}

}  // namespace

std::string AuditFinding::text() const {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (step) add("step " + std::to_string(*step));
  if (shard) add("shard " + std::to_string(*shard));
  add(what + (digest.empty() ? "" : " " + digest));
  return text + ": " + problem;
}

std::optional<AuditFinding> RecordAudit::take(const v1::ListStepRecordsResponse& page) {
  const auto key = public_key_from_bytes(page.public_key());
  if (!key) return finding("the server names no public key: " + key.error().message);
  if (!key_) key_ = *key;
  if (*key != *key_)
    return finding("the server signs with key " + to_hex(*key) + ", expected " + to_hex(*key_));
  for (const v1::StepRecord& record : page.records()) {
    if (auto wrong = take_one(record)) return wrong;
  }
  is_complete_ = next() == page.record_count();
  if (page.records().empty() && !is_complete_)
    return finding("the server says that there are " + std::to_string(page.record_count()) +
                   " records, and gives " + std::to_string(next()));
  const std::string head = next() == 0 ? "" : chain_.head().raw();
  if (is_complete_ && page.head_digest() != head)
    return finding("the newest record is not the one that the server names as such");
  while (!kept_.empty() && kept_.front().sequence < page.retained_from()) kept_.pop_front();
  return std::nullopt;
}

std::optional<AuditFinding> RecordAudit::take_one(const v1::StepRecord& message) {
  const Digest digest = sha256(message.record());
  AuditFinding wrong = finding("");
  wrong.digest = digest.hex();
  const std::string which = "record number " + std::to_string(next()) + " ";
  if (!is_signed_by(*key_, signed_text(digest), message.signature())) {
    // What it says of itself is not to be believed, and is where to look.
    if (const auto record = parse_step_record(message.record())) wrong.step = record->step;
    wrong.problem = which + "is not signed by key " + to_hex(*key_) +
                    ": it was changed after the server made it, or another server made it";
    return wrong;
  }
  const auto record = chain_.add(message.record());
  if (!record) {
    if (const auto parsed = parse_step_record(message.record())) wrong.step = parsed->step;
    wrong.problem = which + "breaks the chain: " + record.error().message;
    return wrong;
  }
  wrong.step = record->step;
  wrong.problem = complaint(*record);
  if (!wrong.problem.empty()) return wrong;
  if (record->kind == RecordKind::kRewind) ++rewind_count_;
  kept_.push_back({record->sequence, record->step, digest});
  if (kept_.size() > kKeptMax) kept_.pop_front();
  return std::nullopt;
}

std::string RecordAudit::complaint(const StepRecord& record) const {
  if (!rule_) return {};
  const double rate =
      update::learning_rate_at(rule_->step.schedule, rule_->step.optimizer.learning_rate,
                               record.step, rule_->step.step_count);
  if (record.learning_rate != rate)
    return "its learning rate is " + std::to_string(record.learning_rate) + ", by the job it is " +
           std::to_string(rate);
  if (record.step >= rule_->step.step_count)
    return "the job has only " + std::to_string(rule_->step.step_count) + " steps";
  const std::string rule = model::names_of(rule_->recipe);
  if (record.rule != rule)
    return "its updates became one by " + record.rule + ", by the job it is " + rule;
  return wrong_updates(record);
}

// A step has every sample once; one that was taken again may lack some.
std::string RecordAudit::wrong_updates(const StepRecord& record) const {
  const model::TrainingSpec& training = rule_->training;
  const bool is_whole = record.sample_count == training.batch;
  if (!is_whole && (record.kind == RecordKind::kStep || record.sample_count > training.batch ||
                    record.updates.empty()))
    return "it counts " + std::to_string(record.sample_count) + " samples, a step has " +
           std::to_string(training.batch);
  for (const RecordedUpdate& update : record.updates) {
    const bool is_shard = update.begin % training.shard == 0 &&
                          update.end - update.begin == training.shard &&
                          update.begin / training.batch == record.step;
    if (!is_shard)
      return "positions " + std::to_string(update.begin) + " to " + std::to_string(update.end) +
             " are no shard of the step";
  }
  return {};
}

}  // namespace mh::cli
