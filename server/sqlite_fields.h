// Each row struct described once, as a list of its fields in the order of its table: SQL text,
// writing and reading all come from these lists, so they cannot disagree.
// Flow: each_field(row, visitor) calls visitor.key / .once / .field (column name, member):
//   key    names the row;
//   once   never changes after the first write (and is not rewritten, which spares its indexes);
//   field  may change.
// Used by sqlite_rows.cpp, sqlite_snapshot.cpp and sqlite_history.cpp only. No state, no threads.
#pragma once

#include <concepts>
#include <type_traits>

#include "scheduler/rows.h"
#include "server/rows.h"

namespace mh::server {

// A row type R, const when it is written.
template <class Row, class R>
concept RowOf = std::same_as<std::remove_const_t<Row>, R>;

template <class Row>
constexpr const char* kTable = nullptr;
template <>
inline constexpr const char* kTable<scheduler::JobRow> = "jobs";
template <>
inline constexpr const char* kTable<scheduler::HostRow> = "hosts";
template <>
inline constexpr const char* kTable<scheduler::WorkunitRow> = "workunits";
template <>
inline constexpr const char* kTable<scheduler::ResultRow> = "results";
template <>
inline constexpr const char* kTable<scheduler::StepRow> = "steps";
template <>
inline constexpr const char* kTable<scheduler::StepRecordRow> = "step_records";
template <>
inline constexpr const char* kTable<scheduler::EvaluationRow> = "evaluations";
template <>
inline constexpr const char* kTable<scheduler::CheckpointRow> = "checkpoints";
template <>
inline constexpr const char* kTable<scheduler::ContributionRow> = "contributions";
template <>
inline constexpr const char* kTable<scheduler::JobLogRow> = "job_log";
template <>
inline constexpr const char* kTable<scheduler::HostLogRow> = "host_log";
template <>
inline constexpr const char* kTable<scheduler::CreditRow> = "credit";
template <>
inline constexpr const char* kTable<scheduler::AgreementRow> = "agreements";
template <>
inline constexpr const char* kTable<AccountRow> = "accounts";
template <>
inline constexpr const char* kTable<TokenRow> = "tokens";
template <>
inline constexpr const char* kTable<InvitationRow> = "invitations";
template <>
inline constexpr const char* kTable<HostSecretRow> = "host_secrets";
template <>
inline constexpr const char* kTable<DatasetRow> = "datasets";
template <>
inline constexpr const char* kTable<JobSourceRow> = "job_sources";
template <>
inline constexpr const char* kTable<AuditRow> = "audit";

// Largest number of each persistent enumeration; the smallest is 1.
constexpr scheduler::JobState last_of(scheduler::JobState) { return scheduler::JobState::kFailed; }
constexpr scheduler::WorkKind last_of(scheduler::WorkKind) {
  return scheduler::WorkKind::kEvaluation;
}
constexpr scheduler::WorkunitState last_of(scheduler::WorkunitState) {
  return scheduler::WorkunitState::kComparing;
}
constexpr scheduler::ResultState last_of(scheduler::ResultState) {
  return scheduler::ResultState::kUndone;
}
constexpr scheduler::Standing last_of(scheduler::Standing) { return scheduler::Standing::kBanned; }
constexpr scheduler::CreditKind last_of(scheduler::CreditKind) {
  return scheduler::CreditKind::kWithdrawn;
}
constexpr scheduler::ValidationMode last_of(scheduler::ValidationMode) {
  return scheduler::ValidationMode::kAll;
}
constexpr scheduler::EvaluationState last_of(scheduler::EvaluationState) {
  return scheduler::EvaluationState::kSkipped;
}
constexpr Role last_of(Role) { return Role::kAdmin; }

template <RowOf<scheduler::JobRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.once("name", row.name);
  v.once("dataset", row.dataset);
  v.once("request_id", row.request_id);
  v.once("job_digest", row.job_digest);
  v.once("manifest_digest", row.manifest_digest);
  v.once("step_count", row.step_count);
  v.once("batch", row.batch);
  v.once("shard", row.shard);
  v.once("training_flops", row.training_flops);
  v.once("evaluation_flops", row.evaluation_flops);
  v.once("threads", row.threads);
  v.once("hosts_min", row.hosts_min);
  v.once("is_pinned", row.is_pinned);
  v.once("has_classes", row.has_classes);
  v.once("has_evaluation", row.has_evaluation);
  v.once("evaluation_split", row.evaluation_split);
  v.once("evaluation_sample_count", row.evaluation_sample_count);
  v.once("evaluation_every_steps", row.evaluation_every_steps);
  v.once("evaluation_shard", row.evaluation_shard);
  v.once("evaluation_chunk_samples", row.evaluation_chunk_samples);
  v.once("validation_mode", row.validation.mode);
  v.once("quorum", row.validation.quorum);
  v.once("check_share_min", row.validation.check_share_min);
  v.once("is_homogeneous", row.validation.is_homogeneous);
  v.once("relative_l2_max", row.validation.relative_l2_max);
  v.once("one_minus_cosine_max", row.validation.one_minus_cosine_max);
  v.once("created", row.created);
  v.field("state", row.state);
  v.field("state_reason", row.state_reason);
  v.field("priority", row.priority);
  v.field("step", row.step);
  v.field("parameters_digest", row.parameters_digest);
  v.field("optimizer_digest", row.optimizer_digest);
  v.field("training_loss", row.training_loss);
  v.field("training_accuracy", row.training_accuracy);
  v.field("started", row.started);
  v.field("last_step", row.last_step);
  v.field("finished", row.finished);
  v.field("version", row.version);
  v.field("log_count", row.log_count);
  v.field("wasted_gflop", row.wasted_gflop);
  v.field("checked_gflop", row.checked_gflop);
  v.field("differed_gflop", row.differed_gflop);
  v.field("record_count", row.record_count);
  v.field("record_digest", row.record_digest);
  v.field("retained_from", row.retained_from);
  v.field("removed_sample_count", row.removed_sample_count);
}

template <RowOf<scheduler::HostRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.field("name", row.description.name);
  v.field("platform", row.description.platform);
  v.field("client_version", row.description.client_version);
  v.field("device", row.description.device);
  v.field("device_model", row.description.device_model);
  v.field("threads", row.description.threads);
  v.once("account", row.origin.account);
  v.field("address_block", row.origin.address_block);
  v.field("cpu_level", row.description.cpu_level);
  v.field("is_trusted", row.is_trusted);
  v.field("is_detached", row.is_detached);
  v.once("attached", row.attached);
  v.field("last_seen", row.last_seen);
  v.field("valid_count", row.valid_count);
  v.field("rejected_count", row.rejected_count);
  v.field("failed_count", row.failed_count);
  v.field("lost_count", row.lost_count);
  v.field("credit", row.credit);
  v.field("credit_held", row.credit_held);
  v.field("standing", row.standing);
  v.field("standing_reason", row.standing_reason);
  v.field("valid_in_row", row.valid_in_row);
  v.field("checked_count", row.checked_count);
  v.field("differed_count", row.differed_count);
  v.field("recent_checks", row.recent_checks);
  v.field("log_count", row.log_count);
  v.field("seconds_per_gflop", row.seconds_per_gflop);
  v.field("seconds_per_gflop_deviation", row.seconds_per_gflop_deviation);
  v.field("lease_quota", row.lease_quota);
}

template <RowOf<scheduler::WorkunitRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.once("job", row.job);
  v.once("kind", row.kind);
  v.once("step", row.step);
  v.once("shard", row.shard);
  v.once("range_begin", row.begin);
  v.once("range_end", row.end);
  v.field("state", row.state);
  v.field("canonical", row.canonical);
}

template <RowOf<scheduler::ResultRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.once("workunit", row.workunit);
  v.once("job", row.job);
  v.once("host", row.host);
  v.field("state", row.state);
  v.field("is_reissue", row.is_reissue);
  v.field("leased", row.leased);
  v.field("lease_length", row.lease_length);
  v.field("ended", row.ended);
  v.field("update_digest", row.update_digest);
  v.field("update_bytes", row.update_bytes);
  v.field("loss_sum", row.loss_sum);
  v.field("correct_count", row.correct_count);
  v.field("compute_ms", row.compute_ms);
  v.field("credit", row.credit);
  v.field("reason", row.reason);
}

template <RowOf<scheduler::StepRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("step", row.step);
  v.field("loss", row.loss);
  v.field("accuracy", row.accuracy);
  v.field("sample_count", row.sample_count);
  v.field("gradient_norm", row.gradient_norm);
  v.field("learning_rate", row.learning_rate);
  v.field("finished", row.finished);
  v.field("parameters_digest", row.parameters_digest);
}

template <RowOf<scheduler::StepRecordRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("sequence", row.sequence);
  v.field("step", row.step);
  v.field("digest", row.digest);
  v.field("blob_bytes", row.blob_bytes);
  v.field("record", row.record);
}

template <RowOf<scheduler::EvaluationRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("step", row.step);
  v.field("state", row.state);
  v.field("split", row.split);
  v.field("sample_count", row.sample_count);
  v.field("loss", row.loss);
  v.field("accuracy", row.accuracy);
  v.field("finished", row.finished);
}

template <RowOf<scheduler::CheckpointRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("step", row.step);
  v.field("parameters_digest", row.parameters_digest);
  v.field("is_kept", row.is_kept);
}

template <RowOf<scheduler::ContributionRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("host", row.host);
  v.field("valid_count", row.valid_count);
  v.field("rejected_count", row.rejected_count);
  v.field("failed_count", row.failed_count);
  v.field("lost_count", row.lost_count);
  v.field("reissued_count", row.reissued_count);
  v.field("evaluation_count", row.evaluation_count);
  v.field("sample_count", row.sample_count);
  v.field("upload_bytes", row.upload_bytes);
  v.field("download_bytes", row.download_bytes);
  v.field("agreed_count", row.agreed_count);
  v.field("differed_count", row.differed_count);
  v.field("undone_count", row.undone_count);
  v.field("credit", row.credit);
  v.field("credit_held", row.credit_held);
  v.field("credit_forfeited", row.credit_forfeited);
  v.field("credit_booked", row.credit_booked);
}

template <RowOf<scheduler::JobLogRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("sequence", row.sequence);
  v.field("time", row.time);
  v.field("step", row.step);
  v.field("text", row.text);
}

template <RowOf<scheduler::HostLogRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("host", row.host);
  v.key("sequence", row.sequence);
  v.field("time", row.time);
  v.field("standing", row.standing);
  v.field("job", row.job);
  v.field("result", row.result);
  v.field("text", row.text);
}

template <RowOf<scheduler::CreditRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("sequence", row.sequence);
  v.field("time", row.time);
  v.field("job", row.job);
  v.field("host", row.host);
  v.field("kind", row.kind);
  v.field("gflop", row.gflop);
  v.field("balance", row.balance);
  v.field("reason", row.reason);
}

template <RowOf<scheduler::AgreementRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job", row.job);
  v.key("first_class", row.first_class);
  v.key("second_class", row.second_class);
  v.field("pair_count", row.pair_count);
  v.field("equal_count", row.equal_count);
  v.field("histogram", row.histogram);
  v.field("relative_l2_most", row.relative_l2_most);
  v.field("one_minus_cosine_most", row.one_minus_cosine_most);
}

template <RowOf<AccountRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.field("name", row.name);
  v.field("role", row.role);
  v.field("created", row.created);
}

template <RowOf<TokenRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.field("account_id", row.account_id);
  v.field("hash", row.hash);
  v.field("created", row.created);
  v.field("expires", row.expires);
  v.field("is_revoked", row.is_revoked);
  v.field("last_used", row.last_used);
}

template <RowOf<InvitationRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("id", row.id);
  v.field("account_id", row.account_id);
  v.field("hash", row.hash);
  v.field("use_count", row.use_count);
  v.field("use_count_max", row.use_count_max);
  v.field("expires", row.expires);
  v.field("is_revoked", row.is_revoked);
}

template <RowOf<HostSecretRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("hash", row.hash);
  v.field("host_id", row.host_id);
  v.field("account_id", row.account_id);
  v.field("is_revoked", row.is_revoked);
}

template <RowOf<DatasetRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("name", row.name);
  v.field("manifest", row.manifest);
  v.field("bytes", row.bytes);
  v.field("created", row.created);
}

template <RowOf<AuditRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("sequence", row.sequence);
  v.field("time", row.time);
  v.field("account_id", row.account_id);
  v.field("token_id", row.token_id);
  v.field("action", row.action);
}

template <RowOf<JobSourceRow> Row, class Visitor>
void each_field(Row& row, Visitor& v) {
  v.key("job_id", row.job_id);
  v.field("request_id", row.request_id);
  v.field("yaml", row.yaml);
  v.field("dataset", row.dataset);
}

}  // namespace mh::server
