// What an event changed: rows to store and effects, collected while it is handled. See state.h.
#include <algorithm>

#include "proto/base/check.h"
#include "scheduler/state.h"

namespace mh::scheduler {

void State::changed(HostEntry& host) {
  host.row.last_seen = host.last_seen;
  changed_hosts_.insert(host.row.id);
}

void State::changed(const ContributionEntry& entry) {
  changed_contributions_.insert({entry.row.job, entry.row.host});
}

void State::changed(const AgreementRow& row) {
  changed_agreements_[{row.job, row.first_class, row.second_class}] = row;
}

void State::store(const EvaluationRow& row) { changed_evaluations_[{row.job, row.step}] = row; }

void State::store(const CheckpointRow& row) { changed_checkpoints_[{row.job, row.step}] = row; }

// What a host repeats is answered from what it remembers.
void State::store(ResultRow row) {
  for (ResultRow& remembered : host(row.host).finished) {
    if (remembered.id == row.id) remembered = row;
  }
  changed_results_[row.id] = std::move(row);
}

void State::touch(JobEntry& job) {
  ++job.row.version;
  changed(job);
  std::vector<JobId>& moved = effects_.jobs_changed;
  if (std::find(moved.begin(), moved.end(), job.row.id) == moved.end()) {
    moved.push_back(job.row.id);
  }
}

void State::log(JobEntry& job, TimePoint now, std::string text) {
  JobLogRow row;
  row.job = job.row.id;
  row.sequence = ++job.row.log_count;
  row.time = now;
  row.step = job.row.step;
  row.text = std::move(text);
  changes_.log.push_back(std::move(row));
  touch(job);
}

void State::log(HostEntry& host, HostLogRow entry) {
  entry.host = host.row.id;
  entry.sequence = ++host.row.log_count;
  entry.standing = host.row.standing;
  changes_.host_log.push_back(std::move(entry));
  changed(host);
}

void State::release(const Digest& blob) {
  if (blobs.remove(blob)) effects_.blobs_unreferenced.push_back(blob);
}

Changes State::take_changes() {
  Changes taken = std::move(changes_);
  changes_ = {};
  for (const JobId id : changed_jobs_) taken.jobs.push_back(job(id).row);
  for (const HostId id : changed_hosts_) taken.hosts.push_back(host(id).row);
  for (auto& [id, row] : changed_workunits_) taken.workunits.push_back(std::move(row));
  for (auto& [id, row] : changed_results_) taken.results.push_back(std::move(row));
  for (auto& [key, row] : changed_evaluations_) taken.evaluations.push_back(std::move(row));
  for (auto& [key, row] : changed_checkpoints_) taken.checkpoints.push_back(row);
  for (const auto& [job_id, host_id] : changed_contributions_) {
    taken.contributions.push_back(contribution(job(job_id), host_id).row);
  }
  for (auto& [key, row] : changed_agreements_) taken.agreements.push_back(std::move(row));
  changed_agreements_.clear();
  changed_jobs_.clear();
  changed_hosts_.clear();
  changed_workunits_.clear();
  changed_results_.clear();
  changed_evaluations_.clear();
  changed_checkpoints_.clear();
  changed_contributions_.clear();
  return taken;
}

Effects State::take_effects() {
  // A blob may have been released and needed again within one event.
  std::erase_if(effects_.blobs_unreferenced,
                [&](const Digest& blob) { return blobs.contains(blob); });
  std::erase_if(effects_.updates_unused, [&](const Digest& blob) { return blobs.contains(blob); });
  Effects taken = std::move(effects_);
  effects_ = {};
  return taken;
}

std::optional<TimePoint> State::wake_at() const {
  std::optional<TimePoint> at;
  if (!deadlines.empty()) at = deadlines.begin()->first;
  if (!alarms.empty() && (!at || alarms.begin()->first < *at)) at = alarms.begin()->first;
  return at;
}

}  // namespace mh::scheduler
