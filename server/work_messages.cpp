// See work_messages.h.
#include "server/work_messages.h"

#include <algorithm>
#include <cmath>

namespace mh::server {
namespace {

constexpr std::uint32_t kThreadsMax = 4096;
constexpr std::size_t kErrorBytesMax = 512;

Error too_many(const char* field, std::int64_t count, std::int64_t most) {
  return fail(Errc::kInvalidArgument, std::string(field) + ": " + std::to_string(count) +
                                          " entries, limit is " + std::to_string(most));
}

// Text of a stranger that people will read: bounded, printable.
Result<std::string> to_text(const std::string& text, const char* field, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    return fail(Errc::kInvalidArgument, std::string("description.") + field + ": " +
                                            std::to_string(text.size()) + " bytes, limit is " +
                                            std::to_string(bytes_max));
  }
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7F;
  });
  if (has_control) {
    return fail(Errc::kInvalidArgument,
                std::string("description.") + field + ": holds control characters");
  }
  return text;
}

Result<scheduler::Outcome> to_outcome(const v1::ResultReport& message) {
  switch (message.outcome()) {
    case v1::OUTCOME_SUCCESS:
      return scheduler::Outcome::kSuccess;
    case v1::OUTCOME_FAILED:
      return scheduler::Outcome::kFailed;
    case v1::OUTCOME_RETURNED:
      return scheduler::Outcome::kReturned;
    default:
      return fail(Errc::kInvalidArgument, "report of result " +
                                              std::to_string(message.result_id()) + ": outcome " +
                                              std::to_string(message.outcome()) +
                                              " is none of SUCCESS (1), FAILED (2), RETURNED (3)");
  }
}

// Cuts a text at a limit without leaving half a UTF-8 character.
std::string shorten(const std::string& text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

Result<scheduler::Report> to_report(const v1::ResultReport& message) {
  scheduler::Report report;
  report.result = ResultId(message.result_id());
  MH_TRY(report.outcome, to_outcome(message));
  if (!message.update_digest().empty()) {
    auto digest = Digest::from_bytes(message.update_digest());
    if (!digest) {
      return fail(Errc::kInvalidArgument, "report of result " +
                                              std::to_string(message.result_id()) +
                                              ": update_digest: " + digest.error().message);
    }
    report.update_digest = *digest;
  }
  report.update_bytes = message.update_bytes();
  report.loss_sum = message.loss_sum();
  report.correct_count = message.correct_count();
  report.compute_ms = message.compute_ms();
  report.error = shorten(message.error(), kErrorBytesMax);
  return report;
}

v1::Verdict to_message(scheduler::Verdict verdict) {
  switch (verdict) {
    case scheduler::Verdict::kValid:
      return v1::VERDICT_VALID;
    case scheduler::Verdict::kRejected:
      return v1::VERDICT_REJECTED;
    case scheduler::Verdict::kTooLate:
      return v1::VERDICT_TOO_LATE;
    case scheduler::Verdict::kUnknown:
      return v1::VERDICT_UNKNOWN;
    case scheduler::Verdict::kNoted:
      return v1::VERDICT_NOTED;
    case scheduler::Verdict::kPending:
      return v1::VERDICT_PENDING;
  }
  return v1::VERDICT_UNSPECIFIED;
}

void write_assignment(const scheduler::Assignment& work, v1::Assignment& message) {
  message.set_result_id(work.result.value());
  message.set_workunit_id(work.workunit.value());
  message.set_job_id(work.job.value());
  message.set_job_name(work.job_name);
  message.set_kind(work.kind == scheduler::WorkKind::kGradient ? v1::WORK_KIND_GRADIENT
                                                               : v1::WORK_KIND_EVALUATION);
  message.set_step(work.step);
  message.set_job_digest(work.job_digest.raw());
  message.set_parameters_digest(work.parameters_digest.raw());
  message.set_manifest_digest(work.manifest_digest.raw());
  message.set_begin(work.begin);
  message.set_end(work.end);
  message.set_split(work.split);
  for (const std::uint32_t chunk : work.chunk_indices) message.add_chunk_indices(chunk);
  message.set_lease_ms(static_cast<std::uint64_t>(work.lease.count()));
  message.set_flops(work.flops);
  message.set_is_pinned(work.is_pinned);
}

}  // namespace

Result<scheduler::HostDescription> to_description(const v1::HostDescription& message) {
  scheduler::HostDescription description;
  MH_TRY(description.name, to_text(message.name(), "name", 64));
  MH_TRY(description.platform, to_text(message.platform(), "platform", 64));
  MH_TRY(description.client_version, to_text(message.client_version(), "client_version", 32));
  MH_TRY(description.device, to_text(message.device(), "device", 32));
  MH_TRY(description.device_model, to_text(message.device_model(), "device_model", 128));
  MH_TRY(description.cpu_level, to_text(message.cpu_level(), "cpu_level", 32));
  description.threads = message.threads() == 0 ? 1 : message.threads();
  if (description.threads > kThreadsMax) {
    return fail(Errc::kInvalidArgument,
                "description.threads: " + std::to_string(message.threads()) + ", limit is " +
                    std::to_string(kThreadsMax));
  }
  return description;
}

Result<scheduler::ExchangeEvent> to_event(const v1::ExchangeRequest& request) {
  if (request.reports_size() > kReportsMax)
    return too_many("reports", request.reports_size(), kReportsMax);
  if (request.held_result_ids_size() > kHeldMax)
    return too_many("held_result_ids", request.held_result_ids_size(), kHeldMax);
  if (request.holdings_size() > kHoldingsMax)
    return too_many("holdings", request.holdings_size(), kHoldingsMax);
  if (request.wanted_count() > kWantedMax) {
    return fail(Errc::kInvalidArgument, "wanted_count: " + std::to_string(request.wanted_count()) +
                                            ", limit is " + std::to_string(kWantedMax));
  }
  scheduler::ExchangeEvent event;
  for (const v1::ResultReport& message : request.reports()) {
    MH_TRY(scheduler::Report report, to_report(message));
    event.reports.push_back(std::move(report));
  }
  for (const std::uint64_t id : request.held_result_ids()) event.held.emplace_back(id);
  event.wanted = request.wanted_count();
  for (const v1::DatasetHolding& message : request.holdings()) {
    auto digest = Digest::from_bytes(message.manifest_digest());
    if (!digest) {
      return fail(Errc::kInvalidArgument, "holdings.manifest_digest: " + digest.error().message);
    }
    event.holdings.push_back({*digest, message.chunk_count()});
  }
  if (request.has_description()) {
    MH_TRY(event.description, to_description(request.description()));
  }
  return event;
}

v1::ExchangeResponse to_message(const scheduler::ExchangeReply& reply) {
  v1::ExchangeResponse response;
  for (const scheduler::ReportVerdict& verdict : reply.verdicts) {
    v1::ResultVerdict& message = *response.add_verdicts();
    message.set_result_id(verdict.result.value());
    message.set_verdict(to_message(verdict.verdict));
    message.set_reason(verdict.reason);
    message.set_credit(verdict.credit);
  }
  for (const scheduler::Assignment& work : reply.assignments) {
    write_assignment(work, *response.add_assignments());
  }
  for (const ResultId id : reply.revoked) response.add_revoked_result_ids(id.value());
  response.set_backoff_ms(static_cast<std::uint32_t>(reply.backoff.count()));
  response.set_no_work_reason(reply.no_work_reason);
  response.set_credit(reply.credit);
  response.set_credit_held(reply.credit_held);
  response.set_notice(reply.notice);
  return response;
}

}  // namespace mh::server
