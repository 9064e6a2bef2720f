#include "tests/sim/messages.h"

#include <algorithm>

namespace mh::sim {
namespace {

// The client takes no shorter lease from the wire.
constexpr milliseconds kLeaseLeast{1'000};

scheduler::Outcome outcome_of(client::Outcome outcome) {
  switch (outcome) {
    case client::Outcome::kSuccess:
      return scheduler::Outcome::kSuccess;
    case client::Outcome::kFailed:
      return scheduler::Outcome::kFailed;
    case client::Outcome::kReturned:
      return scheduler::Outcome::kReturned;
  }
  return scheduler::Outcome::kReturned;
}

client::VerdictKind verdict_of(scheduler::Verdict verdict) {
  switch (verdict) {
    case scheduler::Verdict::kValid:
      return client::VerdictKind::kValid;
    case scheduler::Verdict::kRejected:
      return client::VerdictKind::kRejected;
    case scheduler::Verdict::kTooLate:
      return client::VerdictKind::kTooLate;
    case scheduler::Verdict::kUnknown:
      return client::VerdictKind::kUnknown;
    case scheduler::Verdict::kNoted:
      return client::VerdictKind::kNoted;
    case scheduler::Verdict::kPending:
      return client::VerdictKind::kPending;
  }
  return client::VerdictKind::kUnknown;
}

client::Assignment to_client(const scheduler::Assignment& from) {
  client::Assignment to;
  to.result = from.result;
  to.workunit = from.workunit;
  to.job = from.job;
  to.kind = from.kind == scheduler::WorkKind::kGradient ? client::WorkKind::kGradient
                                                        : client::WorkKind::kEvaluation;
  to.step = from.step;
  to.job_digest = from.job_digest;
  to.parameters_digest = from.parameters_digest;
  to.manifest_digest = from.manifest_digest;
  to.begin = from.begin;
  to.end = from.end;
  to.split = from.split;
  to.chunk_indices = from.chunk_indices;
  to.lease = std::max(from.lease, kLeaseLeast);
  to.job_name = from.job_name;
  return to;
}

}  // namespace

scheduler::ExchangeEvent to_event(const client::ExchangeCall& call, HostId host,
                                  const scheduler::HostDescription& description) {
  scheduler::ExchangeEvent event;
  event.host = host;
  for (const client::Report& from : call.reports) {
    scheduler::Report& report = event.reports.emplace_back();
    report.result = from.result;
    report.outcome = outcome_of(from.outcome);
    report.update_digest = from.update_digest;
    report.update_bytes = from.update_bytes;
    report.loss_sum = from.loss_sum;
    report.correct_count = from.correct_count;
    report.compute_ms = from.compute_ms;
    report.error = from.error;
  }
  event.held = call.held;
  event.wanted = call.wanted;
  for (const client::DatasetHolding& holding : call.holdings) {
    event.holdings.push_back({holding.manifest, holding.chunk_count});
  }
  if (call.with_description) event.description = description;
  return event;
}

client::ExchangeReply to_client(const scheduler::ExchangeReply& from) {
  client::ExchangeReply reply;
  for (const scheduler::ReportVerdict& verdict : from.verdicts) {
    reply.verdicts.push_back(
        {verdict.result, verdict_of(verdict.verdict), verdict.reason, verdict.credit});
  }
  for (const scheduler::Assignment& assignment : from.assignments) {
    reply.assignments.push_back(to_client(assignment));
  }
  reply.revoked = from.revoked;
  reply.backoff = from.backoff;
  reply.no_work_reason = from.no_work_reason;
  reply.credit = from.credit;
  reply.credit_held = from.credit_held;
  reply.notice = from.notice;
  return reply;
}

}  // namespace mh::sim
