// Finished results on their way to the server, however long it is away: rule 8 of host_core.h.
#include <algorithm>

#include "client/daemon/host_core.h"
#include "proto/base/probe.h"

namespace mh::client {

// What an earlier run finished, oldest first; beyond the limits the oldest are dropped.
void HostCore::recover(TimePoint now, std::vector<Report> recovered) {
  std::size_t count = recovered.size();
  std::uint64_t bytes = 0;
  for (Report& report : recovered) {
    bytes += report.update_bytes;
    // A clock that stood wrong then must not keep it for ever, nor drop it at once.
    if (report.finished > now || report.finished == TimePoint{}) report.finished = now;
  }
  std::stable_sort(recovered.begin(), recovered.end(),
                   [](const Report& a, const Report& b) { return a.finished < b.finished; });
  for (Report& report : recovered) {
    const ResultId result = report.result;
    if (count > options_.undelivered_count_max || bytes > options_.undelivered_bytes_max) {
      --count;
      bytes -= report.update_bytes;
      log(Severity::kWarning, "result " + to_string(result) +
                                  " of an earlier run is dropped: more undelivered results than "
                                  "are allowed");
      actions_.push_back(DropRecord{result});
      continue;
    }
    log(Severity::kInfo,
        "result " + to_string(result) + " was finished in an earlier run: delivering it");
    Work& work = work_[result];
    work.assignment.result = result;
    work.state = report.update_bytes > 0 ? WorkState::kUploading : WorkState::kReporting;
    work.report = std::move(report);
    order_.push_back(result);
  }
}

std::uint64_t HostCore::undelivered_count() const {
  return static_cast<std::uint64_t>(std::count_if(
      work_.begin(), work_.end(), [](const auto& item) { return item.second.is_undelivered(); }));
}

std::uint64_t HostCore::undelivered_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [result, work] : work_) {
    if (work.is_undelivered()) bytes += work.report.update_bytes;
  }
  return bytes;
}

bool HostCore::has_too_much_undelivered() const {
  return undelivered_count() >= options_.undelivered_count_max ||
         undelivered_bytes() >= options_.undelivered_bytes_max;
}

// A result that nobody took for so long is of no use to anybody.
void HostCore::drop_stale(TimePoint now) {
  for (const ResultId result : std::deque<ResultId>(order_)) {
    const Work& work = work_.at(result);
    if (!work.is_undelivered() || work.was_sent) continue;
    if (!is_due(now, work.report.finished + options_.undelivered_age_max)) continue;
    log(Severity::kWarning,
        "result " + to_string(result) + " could not be delivered in time: dropping it");
    forget(result);
  }
}

void HostCore::advance_uploads(TimePoint now) {
  // The first answer of a server that was away, or of any, says what is still worth sending.
  if (is_server_away_ || !has_answered_) return;
  std::uint32_t under_way = 0;
  for (const auto& [result, work] : work_) under_way += work.is_under_way ? 1 : 0;
  for (const ResultId result : order_) {
    Work& work = work_.at(result);
    if (work.state != WorkState::kUploading || work.is_under_way) continue;
    if (under_way >= options_.uploads_at_once) return;
    if (!is_due(now, work.retry_at)) continue;
    work.is_under_way = true;
    ++under_way;
    actions_.push_back(StartUpload{result, work.report.update_digest});
  }
}

Actions HostCore::upload_done(TimePoint now, ResultId result) {
  now = steady(now);
  server_answered();
  if (const auto found = work_.find(result);
      found != work_.end() && found->second.state == WorkState::kUploading) {
    found->second.is_under_way = false;
    found->second.attempt_count = 0;
    found->second.retry_at = TimePoint{};
    found->second.state = WorkState::kReporting;
  }
  return settle(now);
}

Actions HostCore::upload_failed(TimePoint now, ResultId result, const Error& error) {
  now = steady(now);
  const auto found = work_.find(result);
  if (found == work_.end() || found->second.state != WorkState::kUploading) return settle(now);
  Work& work = found->second;
  work.is_under_way = false;
  MH_PROBE("client: an upload fails");
  work.retry_at = now + transfer_wait(++work.upload_failure_count);
  if (error.code == Errc::kUnauthenticated) server_failed(now, error);
  const std::string name = "the update of result " + to_string(result);
  if (work.upload_failure_count == 1)
    log(Severity::kWarning,
        name + " cannot be uploaded yet (" + error.message + "); trying again now and then");
  // Anything else may pass: a proxy's page, a full disk, a quota.
  if (error.code != Errc::kDataLoss || ++work.attempt_count < options_.attempt_count_max)
    return settle(now);
  MH_PROBE("client: an update is damaged on the disk");
  log(Severity::kError, name + " is damaged on this computer's disk: " + error.message);
  ++failed_count_;
  give_up(work, Outcome::kReturned, "its update was damaged on the host: " + error.message);
  return settle(now);
}

}  // namespace mh::client
