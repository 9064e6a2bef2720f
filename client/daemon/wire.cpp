// See wire.h.
#include "client/daemon/wire.h"

#include <algorithm>

#include "proto/base/utf8.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kLeaseMsMax = 30ull * 24 * 3600 * 1000;
constexpr std::uint32_t kBackoffMsMax = 3600 * 1000;
constexpr std::size_t kTextBytesMax = 500;

// Text of a server, for logs and status, or of a trainer, for the server: short, without control
// characters, never cut inside a character (a message with half of one is refused whole).
std::string clean(const std::string& text) { return plain_text(text, kTextBytesMax); }

v1::Outcome outcome_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return v1::OUTCOME_SUCCESS;
    case Outcome::kFailed:
      return v1::OUTCOME_FAILED;
    case Outcome::kReturned:
      return v1::OUTCOME_RETURNED;
  }
  return v1::OUTCOME_UNSPECIFIED;
}

VerdictKind verdict_of(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_VALID:
      return VerdictKind::kValid;
    case v1::VERDICT_REJECTED:
      return VerdictKind::kRejected;
    case v1::VERDICT_TOO_LATE:
      return VerdictKind::kTooLate;
    case v1::VERDICT_NOTED:
      return VerdictKind::kNoted;
    case v1::VERDICT_PENDING:
      return VerdictKind::kPending;
    default:
      return VerdictKind::kUnknown;
  }
}

Digest take_digest(const std::string& raw, const char* name, std::string& problem) {
  auto digest = Digest::from_bytes(raw);
  if (digest.has_value()) return *digest;
  problem = std::string(name) + " of the assignment has " + std::to_string(raw.size()) +
            " bytes instead of 32";
  return {};
}

Assignment from_message(const v1::Assignment& message) {
  Assignment assignment;
  std::string& problem = assignment.problem;
  assignment.result = ResultId(message.result_id());
  assignment.workunit = WorkunitId(message.workunit_id());
  assignment.job = JobId(message.job_id());
  assignment.step = message.step();
  assignment.job_digest = take_digest(message.job_digest(), "job_digest", problem);
  assignment.parameters_digest =
      take_digest(message.parameters_digest(), "parameters_digest", problem);
  assignment.manifest_digest = take_digest(message.manifest_digest(), "manifest_digest", problem);
  assignment.begin = message.begin();
  assignment.end = message.end();
  assignment.split = clean(message.split());
  assignment.chunk_indices.assign(message.chunk_indices().begin(), message.chunk_indices().end());
  assignment.lease = milliseconds(
      static_cast<std::int64_t>(std::clamp<std::uint64_t>(message.lease_ms(), 1000, kLeaseMsMax)));
  assignment.job_name = clean(message.job_name());
  assignment.is_pinned = message.is_pinned();
  switch (message.kind()) {
    case v1::WORK_KIND_GRADIENT:
      assignment.kind = WorkKind::kGradient;
      break;
    case v1::WORK_KIND_EVALUATION:
      assignment.kind = WorkKind::kEvaluation;
      break;
    default:
      problem = "work of kind " + std::to_string(message.kind()) +
                " is not known to this version of the client";
  }
  if (assignment.begin >= assignment.end)
    problem = "the workunit is empty: begin " + std::to_string(assignment.begin) + ", end " +
              std::to_string(assignment.end);
  return assignment;
}

}  // namespace

v1::ExchangeRequest to_message(const ExchangeCall& call) {
  v1::ExchangeRequest request;
  for (const Report& report : call.reports) {
    v1::ResultReport& message = *request.add_reports();
    message.set_result_id(report.result.value());
    message.set_outcome(outcome_of(report.outcome));
    if (report.update_bytes > 0) {
      message.set_update_digest(report.update_digest.raw());
      message.set_update_bytes(report.update_bytes);
    }
    message.set_loss_sum(report.loss_sum);
    message.set_correct_count(report.correct_count);
    message.set_compute_ms(report.compute_ms);
    message.set_error(clean(report.error));
  }
  for (const ResultId held : call.held) request.add_held_result_ids(held.value());
  request.set_wanted_count(call.wanted);
  request.set_max_wait_ms(static_cast<std::uint32_t>(call.wait.count()));
  for (const DatasetHolding& holding : call.holdings) {
    v1::DatasetHolding& message = *request.add_holdings();
    message.set_manifest_digest(holding.manifest.raw());
    message.set_chunk_count(holding.chunk_count);
  }
  return request;
}

ExchangeReply from_message(const v1::ExchangeResponse& response) {
  ExchangeReply reply;
  for (const v1::ResultVerdict& verdict : response.verdicts())
    reply.verdicts.push_back({ResultId(verdict.result_id()), verdict_of(verdict.verdict()),
                              clean(verdict.reason()), verdict.credit()});
  for (const v1::Assignment& assignment : response.assignments()) {
    if (assignment.result_id() != 0) reply.assignments.push_back(from_message(assignment));
  }
  for (const std::uint64_t revoked : response.revoked_result_ids())
    reply.revoked.emplace_back(revoked);
  reply.backoff = milliseconds(std::min(response.backoff_ms(), kBackoffMsMax));
  reply.no_work_reason = clean(response.no_work_reason());
  reply.credit = response.credit();
  reply.credit_held = response.credit_held();
  reply.notice = clean(response.notice());
  return reply;
}

}  // namespace mh::client
