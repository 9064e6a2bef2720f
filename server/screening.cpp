// See screening.h.
#include "server/screening.h"

#include <utility>
#include <vector>

#include "proto/net/async.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {
namespace {

void refuse(scheduler::Report& report, std::string reason) {
  report.screening = scheduler::Screening::kRefused;
  report.screening_reason = std::move(reason);
}

// What a file must be, and whose it is.
struct Candidate {
  Digest digest;
  std::uint64_t bytes = 0;
  update::UpdateExpectation expected;
};

struct Finding {
  scheduler::Screening screening = scheduler::Screening::kPassed;
  std::string reason;
  double norm = 0;
};

Finding look_at(const BlobStore& blobs, const Candidate& candidate) {
  const auto size = blobs.size(candidate.digest);
  if (!size) return {scheduler::Screening::kMissing, {}};
  if (*size != candidate.bytes) {
    return {scheduler::Screening::kRefused, "update is " + std::to_string(*size) +
                                                " bytes, this job's updates are " +
                                                std::to_string(candidate.bytes)};
  }
  const auto file = blobs.map(candidate.digest, candidate.bytes);
  if (!file) return {scheduler::Screening::kMissing, {}};
  const auto stats = update::screen_update(file->bytes(), candidate.expected);
  if (!stats) return {scheduler::Screening::kRefused, stats.error().message};
  return {scheduler::Screening::kPassed, {}, stats->norm};
}

}  // namespace

asio::awaitable<scheduler::ExchangeEvent> screen_reports(Core& core,
                                                         scheduler::ExchangeEvent event) {
  std::vector<scheduler::Report*> looked_at;
  for (scheduler::Report& report : event.reports) {
    if (report.outcome != scheduler::Outcome::kSuccess) continue;
    const auto info = core.coordinator().result_info(event.host, report.result);
    if (!info || !info->is_wanted) continue;
    if (info->kind == scheduler::WorkKind::kEvaluation) continue;
    if (report.update_digest.is_zero()) {
      refuse(report, "the report names no update");
      continue;
    }
    const auto model = co_await core.job_model(info->job);
    if (!model) {
      // The job's own blobs cannot be read: no fault of the host.
      report.screening = scheduler::Screening::kMissing;
      continue;
    }
    Candidate candidate;
    candidate.digest = report.update_digest;
    candidate.bytes = (*model)->update_bytes();
    candidate.expected = (*model)->expected_update(info->step, info->sample_count);
    auto look = [&blobs = core.blobs(), candidate] { return look_at(blobs, candidate); };
    Finding finding = co_await net::run_on(core.pool(), std::move(look));
    report.screening = finding.screening;
    report.screening_reason = std::move(finding.reason);
    report.update_bytes = candidate.bytes;
    report.update_norm = finding.norm;
    if (report.screening == scheduler::Screening::kPassed) looked_at.push_back(&report);
  }
  // An equal blob may have been deleted meanwhile. From here to the decision nothing is awaited.
  for (scheduler::Report* report : looked_at) {
    if (!core.blobs().contains(report->update_digest))
      report->screening = scheduler::Screening::kMissing;
  }
  co_return event;
}

}  // namespace mh::server
