// Questions to the coordinator: copies of its memory for people and for the shell.
#include <algorithm>

#include "scheduler/coordinator.h"
#include "scheduler/coordinator_impl.h"
#include "scheduler/spread.h"

namespace mh::scheduler {
namespace {

EvaluationView to_view(const EvaluationRow& row) {
  return {row.step, row.split, row.loss, row.accuracy, row.sample_count, row.finished};
}

std::uint64_t samples_counted(const JobEntry& job) {
  return (job.row.step * job.row.batch) + (job.done_count * job.row.shard) -
         job.row.removed_sample_count;
}

// Counts hosts that the predicate accepts and that called lately.
template <class Predicate>
bool is_any_active(const State& state, TimePoint now, Predicate is_wanted) {
  return std::any_of(state.hosts.begin(), state.hosts.end(), [&](const auto& entry) {
    const HostEntry& host = entry.second;
    return !host.row.is_detached && host.last_seen + state.options.active_window > now &&
           is_wanted(host);
  });
}

HostView to_view(const HostEntry& host) {
  HostView view;
  view.id = host.row.id;
  view.row = host.row;
  view.last_seen = host.last_seen;
  view.lease_count = static_cast<std::uint32_t>(host.leases.size());
  if (host.row.seconds_per_gflop > 0) view.gflops = 1 / host.row.seconds_per_gflop;
  return view;
}

}  // namespace

std::string Coordinator::Impl::waiting_reason(const JobEntry& job, TimePoint now) const {
  if (job.row.state == JobState::kPaused) return "the job is paused";
  if (job.row.state != JobState::kRunning) return {};
  if (job.is_held) return "the job is being rewound";
  if (!is_any_active(state, now, [](const HostEntry&) { return true; })) {
    return "no volunteer is connected";
  }
  const bool is_training_done = job.row.step == job.row.step_count;
  if (is_training_done && job.leased.empty() &&
      !is_any_active(state, now, [](const HostEntry& host) { return host.row.is_trusted; })) {
    return "the last evaluation waits for a trusted host; an admin can trust one: manyhands host "
           "trust ID";
  }
  if (is_training_done) return {};
  if (job.is_step_complete()) return "the next step is being made";
  if (job.leased.empty() &&
      !is_any_active(state, now, [&](const HostEntry& host) { return job.fits(host.row); })) {
    return "no volunteer that is connected has the " + std::to_string(job.row.threads) +
           " threads that the job computes with" +
           (job.row.is_pinned ? ", on a CPU with AVX2 and FMA (numerics: pinned)" : "");
  }
  if (job.leased.empty() && !job.waiting_gradients.empty() && job.row.hosts_min > 1) {
    const Spread spread(state, job);
    if (spread.hosts_with_part() < job.row.hosts_min) return spread.needs_more();
  }
  if (!job.waiting_checks.empty() && job.waiting_gradients.empty() && job.leased.empty()) {
    return std::to_string(job.waiting_checks.size()) +
           " results wait for a check by a host of another account and network; an admin can "
           "trust one: manyhands host trust ID";
  }
  if (!job.waiting_gradients.empty() && job.leased.empty() && job.row.started == TimePoint{}) {
    return "no volunteer has asked for work yet";
  }
  return {};
}

JobView Coordinator::Impl::view(const JobEntry& job, TimePoint now) const {
  JobView view;
  view.row = job.row;
  if (job.last_evaluation) view.last_evaluation = to_view(*job.last_evaluation);
  if (job.best_evaluation) view.best_evaluation = to_view(*job.best_evaluation);
  view.workunit_count = job.workunits.size();
  view.workunit_done_count = job.done_count;
  if (job.has_ended()) return view;
  view.samples_per_second = job.rate.per_second(now);
  for (const auto& [host, contribution] : job.contributions) {
    const TimePoint active_until = contribution.last_active + state.options.active_window;
    if (active_until > now) ++view.active_host_count;
  }
  if (view.samples_per_second > 0) {
    const std::uint64_t left = job.row.step_count * job.row.batch - samples_counted(job);
    view.eta_seconds = static_cast<double>(left) / view.samples_per_second;
  }
  view.waiting_reason = waiting_reason(job, now);
  return view;
}

std::optional<JobId> Coordinator::job_of_request(std::string_view request_id) const {
  const auto found = impl_->state.requests.find(request_id);
  if (request_id.empty() || found == impl_->state.requests.end()) return std::nullopt;
  return found->second;
}

std::optional<ResultInfo> Coordinator::result_info(HostId host, ResultId result) const {
  const State& state = impl_->state;
  const auto found = state.results.find(result);
  if (found == state.results.end() || found->second.row.host != host) return std::nullopt;
  const WorkunitEntry& workunit = state.workunits.at(found->second.row.workunit);
  ResultInfo info;
  info.job = workunit.row.job;
  info.kind = workunit.row.kind;
  info.step = workunit.row.step;
  info.sample_count = workunit.sample_count();
  const ResultState state_now = found->second.row.state;
  info.is_wanted = workunit.row.state != WorkunitState::kDone &&
                   (state_now == ResultState::kLeased || state_now == ResultState::kExpired);
  return info;
}

std::optional<JobView> Coordinator::job(JobId job, TimePoint now) const {
  const auto found = impl_->state.jobs.find(job);
  if (found == impl_->state.jobs.end()) return std::nullopt;
  return impl_->view(found->second, now);
}

std::vector<JobView> Coordinator::jobs(TimePoint now) const {
  std::vector<JobView> views;
  for (const auto& [id, job] : impl_->state.jobs) views.push_back(impl_->view(job, now));
  return views;
}

std::optional<JobSummary> Coordinator::job_summary(JobId job_id, TimePoint now,
                                                   std::span<const ContributionRow> stored) const {
  const State& state = impl_->state;
  const auto found = state.jobs.find(job_id);
  if (found == state.jobs.end()) return std::nullopt;
  const JobEntry& job = found->second;
  JobSummary summary;
  summary.job = impl_->view(job, now);
  const auto add = [&](const ContributionRow& row) {
    const HostEntry& host = state.hosts.at(row.host);
    summary.hosts.push_back({row, host.row.description.name, host.row.is_trusted});
  };
  for (const auto& [host_id, contribution] : job.contributions) add(contribution.row);
  if (job.are_contributions_stored_only) {
    // Here are at most those with credit held back; the store has all.
    summary.hosts.clear();
    std::for_each(stored.begin(), stored.end(), add);
  }
  summary.samples_expected = job.row.step * job.row.batch;
  for (const Contribution& host : summary.hosts) summary.samples_counted += host.row.sample_count;
  // The step in progress, or the one that was given up when the job ended early, is not finished.
  summary.samples_counted -= job.done_count * job.row.shard;
  if (job.row.state == JobState::kCancelled || job.row.state == JobState::kFailed) {
    summary.samples_counted =
        std::min(summary.samples_counted, summary.samples_expected - job.row.removed_sample_count);
  }
  summary.wasted_gflop = job.row.wasted_gflop;
  summary.backup_share_max = state.options.backup_share_max;
  const double computed = job.row.wasted_gflop + job.valid_gflop;
  if (computed > 0) summary.wasted_share = job.row.wasted_gflop / computed;
  if (job.row.started != TimePoint{}) {
    const TimePoint end = job.row.step == job.row.step_count || job.has_ended()
                              ? std::max(job.row.last_step, job.row.started)
                              : now;
    summary.training_seconds = static_cast<double>((end - job.row.started).count()) / 1000;
  }
  return summary;
}

std::vector<ModelView> Coordinator::models(JobId job_id) const {
  std::vector<ModelView> models;
  const auto found = impl_->state.jobs.find(job_id);
  if (found == impl_->state.jobs.end()) return models;
  const JobEntry& job = found->second;
  for (auto kept = job.checkpoints.rbegin(); kept != job.checkpoints.rend(); ++kept) {
    ModelView model;
    model.step = kept->first;
    model.parameters_digest = kept->second.parameters_digest;
    model.is_latest = kept->first == job.row.step;
    model.is_best = job.best_evaluation && job.best_evaluation->step == kept->first;
    if (model.is_best) {
      model.evaluation = to_view(*job.best_evaluation);
    } else if (job.last_evaluation && job.last_evaluation->step == kept->first) {
      model.evaluation = to_view(*job.last_evaluation);
    }
    models.push_back(std::move(model));
  }
  return models;
}

std::vector<RetainedStep> Coordinator::retained_steps(JobId job_id) const {
  const auto found = impl_->state.jobs.find(job_id);
  if (found == impl_->state.jobs.end()) return {};
  return {found->second.retained.begin(), found->second.retained.end()};
}

std::optional<HostView> Coordinator::host(HostId host) const {
  const auto found = impl_->state.hosts.find(host);
  if (found == impl_->state.hosts.end()) return std::nullopt;
  return to_view(found->second);
}

std::vector<HostView> Coordinator::hosts() const {
  std::vector<HostView> views;
  for (const auto& [id, host] : impl_->state.hosts) views.push_back(to_view(host));
  return views;
}

std::vector<AgreementView> Coordinator::agreements(JobId job_id) const {
  std::vector<AgreementView> views;
  const auto found = impl_->state.jobs.find(job_id);
  if (found == impl_->state.jobs.end()) return views;
  for (const auto& [classes, agreement] : found->second.agreements) {
    const Tolerance tolerance =
        tolerance_of(found->second.row.validation, classes.first, classes.second, &agreement);
    views.push_back({agreement.row(), tolerance.relative_l2, tolerance.one_minus_cosine});
  }
  return views;
}

std::uint32_t Coordinator::running_job_count() const {
  return static_cast<std::uint32_t>(std::count_if(
      impl_->state.live_jobs.begin(), impl_->state.live_jobs.end(),
      [&](JobId id) { return impl_->state.jobs.at(id).row.state == JobState::kRunning; }));
}

std::uint32_t Coordinator::active_host_count(TimePoint now,
                                             std::chrono::milliseconds window) const {
  return static_cast<std::uint32_t>(
      std::count_if(impl_->state.hosts.begin(), impl_->state.hosts.end(), [&](const auto& entry) {
        return !entry.second.row.is_detached && entry.second.last_seen + window >= now;
      }));
}

bool Coordinator::is_dataset_used(const Digest& manifest_digest) const {
  return std::any_of(impl_->state.live_jobs.begin(), impl_->state.live_jobs.end(), [&](JobId id) {
    return impl_->state.jobs.at(id).row.manifest_digest == manifest_digest;
  });
}

bool Coordinator::is_blob_referenced(const Digest& blob) const {
  return impl_->state.blobs.contains(blob);
}

std::vector<Digest> Coordinator::referenced_blobs() const { return impl_->state.blobs.all(); }

}  // namespace mh::scheduler
