// See coordinator.h. Each event is a few lines: find, decide (assigner, validator, job_steps),
// hand out what changed. Questions are in coordinator_views.cpp.
#include "scheduler/coordinator.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "scheduler/assigner.h"
#include "scheduler/checkpoints.h"
#include "scheduler/checks.h"
#include "scheduler/coordinator_impl.h"
#include "scheduler/job_steps.h"
#include "scheduler/restore.h"
#include "scheduler/rewind.h"
#include "scheduler/standing.h"
#include "scheduler/step_records.h"
#include "scheduler/validator.h"

namespace mh::scheduler {
namespace {

// How far behind a stored last_seen may be.
constexpr std::chrono::milliseconds kLastSeenGrain{60'000};
constexpr std::size_t kHoldingsMax = 32;

Error no_such_job(JobId id) { return fail(Errc::kNotFound, "there is no job " + to_string(id)); }
Error no_such_host(HostId id) { return fail(Errc::kNotFound, "there is no host " + to_string(id)); }

template <class Reply>
Decision<Reply> decide(State& state, Reply reply) {
  return {std::move(reply), state.take_changes(), state.take_effects(), state.wake_at()};
}

void describe(State& state, HostEntry& host, const HostDescription& description) {
  if (host.row.description == description) return;
  host.row.description = description;
  state.changed(host);
}

// The host is there; what it brings along is noted.
void hear(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now) {
  // A call that is asked again after being held is no new sign of life.
  host.last_seen = std::max(host.last_seen, std::min(event.received, now));
  if (host.last_seen - host.row.last_seen >= kLastSeenGrain) state.changed(host);
  if (event.description) describe(state, host, *event.description);
  host.holdings.clear();
  for (const Holding& holding : event.holdings) {
    if (host.holdings.size() >= kHoldingsMax) break;
    if (holding.chunk_count > 0) host.holdings[holding.manifest_digest] = holding.chunk_count;
  }
}

}  // namespace

Coordinator::Coordinator(const CoordinatorOptions& options, Snapshot snapshot, TimePoint now)
    : impl_(std::make_unique<Impl>(options)) {
  MH_CHECK(options.quota_start > 0 && options.quota_max >= options.quota_start);
  MH_CHECK(options.copies_max > 0 && options.evaluations_pending_max > 1);
  restore(impl_->state, std::move(snapshot), now);
  // Nothing of this is news to the store.
  impl_->state.take_changes();
  impl_->state.take_effects();
}

Coordinator::~Coordinator() = default;
Coordinator::Coordinator(Coordinator&&) noexcept = default;
Coordinator& Coordinator::operator=(Coordinator&&) noexcept = default;

Decision<Nothing> Coordinator::initial_effects(TimePoint) {
  State& state = impl_->state;
  for (const JobId id : state.live_jobs) {
    JobEntry& job = state.job(id);
    for (const WorkunitId workunit_id : job.workunits) {
      ask_for_comparisons(state, state.workunit(workunit_id));
      const WorkunitRow& row = state.workunit(workunit_id).row;
      if (row.state != WorkunitState::kDone) continue;
      state.effects().updates_accepted.push_back(
          {id, row.step, row.shard, state.result(row.canonical).row.update_digest});
    }
    if (!job.is_step_complete()) continue;
    MH_PROBE("a restart finds a step complete and not aggregated");
    state.effects().steps_ready.push_back(step_ready(state, job));
  }
  return decide(state, Nothing{});
}

Decision<Result<HostId>> Coordinator::attach(std::optional<HostId> host_id,
                                             const HostDescription& description,
                                             const HostOrigin& origin, TimePoint now) {
  State& state = impl_->state;
  if (host_id) {
    const auto found = state.hosts.find(*host_id);
    if (found == state.hosts.end()) return decide<Result<HostId>>(state, no_such_host(*host_id));
    HostEntry& host = found->second;
    if (host.row.is_detached) {
      return decide<Result<HostId>>(
          state, fail(Errc::kFailedPrecondition, host_text(host) + " is detached"));
    }
    host.last_seen = now;
    describe(state, host, description);
    if (host.row.origin.address_block != origin.address_block) {
      host.row.origin.address_block = origin.address_block;
      state.changed(host);
    }
    return decide<Result<HostId>>(state, *host_id);
  }
  const HostId id(++state.last_host);
  HostEntry& host = state.hosts[id];
  host.row.id = id;
  host.row.description = description;
  host.row.origin = origin;
  host.row.attached = now;
  host.row.lease_quota = state.options.quota_start;
  host.last_seen = now;
  host.last_report = now;
  state.changed(host);
  return decide<Result<HostId>>(state, id);
}

Decision<Result<void>> Coordinator::detach(HostId host_id, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.hosts.find(host_id);
  if (found == state.hosts.end()) return decide<Result<void>>(state, no_such_host(host_id));
  HostEntry& host = found->second;
  if (host.row.is_detached) return decide<Result<void>>(state, Result<void>{});
  host.last_seen = now;
  host.row.is_detached = true;
  state.changed(host);
  follow_trust(state, host);
  state.asking.erase(host_id);
  return_leases(state, host, "the host was detached", now);
  return decide<Result<void>>(state, Result<void>{});
}

Decision<Result<ExchangeReply>> Coordinator::exchange(const ExchangeEvent& event, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.hosts.find(event.host);
  if (found == state.hosts.end()) {
    return decide<Result<ExchangeReply>>(state, no_such_host(event.host));
  }
  HostEntry& host = found->second;
  if (host.row.is_detached) {
    MH_PROBE("a detached host calls");
    return decide<Result<ExchangeReply>>(
        state, fail(Errc::kUnauthenticated, host_text(host) + " is detached; attach it again"));
  }
  hear(state, host, event, now);
  ExchangeReply reply;
  reply.verdicts = judge_reports(state, host, event.reports, now);
  renew_leases(state, host, event, now, reply);
  expire_leases(state, now);
  assign_work(state, host, event, now, reply);
  reply.credit = host.row.credit;
  reply.credit_held = host.row.credit_held;
  reply.notice = notice_of(host);
  return decide<Result<ExchangeReply>>(state, std::move(reply));
}

Decision<Result<void>> Coordinator::set_trust(HostId host_id, bool is_trusted, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.hosts.find(host_id);
  if (found == state.hosts.end()) return decide<Result<void>>(state, no_such_host(host_id));
  HostEntry& host = found->second;
  if (host.row.is_trusted != is_trusted) {
    scheduler::set_trust(state, host, is_trusted);
    // Whom an admin vouches for begins anew.
    if (is_trusted && host.row.standing >= Standing::kLimited) {
      scheduler::forgive(state, host, now);
    }
    if (is_trusted && !host.row.is_detached) take_word(state, host, now);
  }
  return decide<Result<void>>(state, Result<void>{});
}

Decision<Result<void>> Coordinator::forgive(HostId host_id, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.hosts.find(host_id);
  if (found == state.hosts.end()) return decide<Result<void>>(state, no_such_host(host_id));
  scheduler::forgive(state, found->second, now);
  return decide<Result<void>>(state, Result<void>{});
}

Decision<Nothing> Coordinator::compared(ResultId first, ResultId second,
                                        const std::optional<Distance>& distance, TimePoint now) {
  take_distance(impl_->state, first, second, distance, now);
  return decide(impl_->state, Nothing{});
}

void Coordinator::count_download(HostId host_id, const Digest& blob, std::uint64_t bytes) {
  State& state = impl_->state;
  const auto found = state.hosts.find(host_id);
  if (found == state.hosts.end()) return;
  JobId owner = found->second.last_job;
  for (const JobId id : state.live_jobs) {
    const JobRow& row = state.job(id).row;
    if (row.job_digest == blob || row.parameters_digest == blob || row.manifest_digest == blob) {
      owner = id;
      break;
    }
  }
  // Nothing of an ended job changes any more.
  if (!owner.is_valid() || state.job(owner).has_ended()) return;
  impl_->state.contribution(state.job(owner), host_id).row.download_bytes += bytes;
}

Decision<Result<Submitted>> Coordinator::submit_job(const JobSubmission& submission,
                                                    TimePoint now) {
  State& state = impl_->state;
  if (const auto known = job_of_request(submission.request_id)) {
    return decide<Result<Submitted>>(state, Submitted{*known, false});
  }
  if (const Result<void> checked = check_submission(submission); !checked.has_value()) {
    return decide<Result<Submitted>>(state, checked.error());
  }
  const JobEntry& job = create_job(state, submission, now);
  return decide<Result<Submitted>>(state, Submitted{job.row.id, true});
}

Decision<Result<void>> Coordinator::update_job(JobId job_id, JobAction action,
                                               std::uint32_t priority, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.jobs.find(job_id);
  if (found == state.jobs.end()) return decide<Result<void>>(state, no_such_job(job_id));
  JobEntry& job = found->second;
  return decide<Result<void>>(state, impl_->update(job, action, priority, now));
}

Result<void> Coordinator::Impl::update(JobEntry& job, JobAction action, std::uint32_t priority,
                                       TimePoint now) {
  if (action == JobAction::kCancel && job.row.state == JobState::kCancelled) return {};
  if (job.has_ended()) {
    return fail(Errc::kFailedPrecondition, "job " + to_string(job.row.id) + " has ended");
  }
  switch (action) {
    case JobAction::kPause:
      if (job.row.state == JobState::kPaused) return {};
      state.log(job, now, "paused");
      state.set_state(job, JobState::kPaused, "paused by an admin", now);
      return {};
    case JobAction::kResume:
      if (job.row.state == JobState::kRunning) return {};
      state.log(job, now, "resumed");
      state.set_state(job, JobState::kRunning, "", now);
      return {};
    case JobAction::kCancel:
      end_job(state, job, JobState::kCancelled, "cancelled by an admin", now);
      return {};
    case JobAction::kSetPriority:
      if (priority > 100) {
        return fail(Errc::kInvalidArgument, "priority is " + std::to_string(priority) +
                                                ", allowed: an integer from 0 to 100");
      }
      if (priority == job.row.priority) return {};
      job.row.priority = priority;
      state.log(job, now, "priority is now " + std::to_string(priority));
      return {};
  }
  return fail(Errc::kInvalidArgument, "unknown action");
}

Decision<Nothing> Coordinator::step_completed(JobId job_id, std::uint64_t step,
                                              const StepOutput& output, TimePoint now) {
  State& state = impl_->state;
  const auto found = state.jobs.find(job_id);
  const bool is_present = found != state.jobs.end() && !found->second.has_ended() &&
                          found->second.row.step == step && found->second.is_step_complete();
  if (!is_present) {
    MH_PROBE("a step is completed for a job that has ended or moved on");
    for (const Digest& blob : {output.parameters_digest, output.optimizer_digest}) {
      if (!blob.is_zero()) state.effects().blobs_unreferenced.push_back(blob);
    }
    return decide(state, Nothing{});
  }
  JobEntry& job = found->second;
  std::string failure = output.failure;
  if (failure.empty() && !std::isfinite(output.gradient_norm)) {
    failure = "the gradient's norm is not finite";
  }
  if (failure.empty()) {
    complete_step(state, job, output, now);
  } else {
    end_job(state, job, JobState::kFailed, "step " + std::to_string(step) + ": " + failure, now);
  }
  return decide(state, Nothing{});
}

Decision<Nothing> Coordinator::hold(JobId job_id, bool is_held) {
  State& state = impl_->state;
  if (const auto found = state.jobs.find(job_id); found != state.jobs.end()) {
    JobEntry& job = found->second;
    job.is_held = is_held;
    if (job.gives_work()) state.effects().is_work_available = true;
  }
  return decide(state, Nothing{});
}

Result<RewindPlan> Coordinator::plan_rewind(const RewindOrder& order,
                                            const RewindPast& past) const {
  return scheduler::plan_rewind(impl_->state, order, past);
}

Decision<Result<Rewound>> Coordinator::rewind(const RewindOrder& order, const RewindPast& past,
                                              const RewindPlan& plan,
                                              const std::vector<StepOutput>& outputs,
                                              TimePoint now) {
  State& state = impl_->state;
  const auto again = scheduler::plan_rewind(state, order, past);
  if (!again) return decide<Result<Rewound>>(state, again.error());
  if (again->record_count != plan.record_count || again->steps.size() != outputs.size()) {
    MH_PROBE("a job has moved on while its rewind was computed");
    return decide<Result<Rewound>>(
        state, fail(Errc::kAborted, "job " + to_string(order.job) +
                                        " has moved on while its rewind was computed; try again"));
  }
  if (again->is_done_already) {
    Rewound rewound;
    rewound.step = state.job(order.job).row.step;
    return decide<Result<Rewound>>(state, rewound);
  }
  return decide<Result<Rewound>>(state, scheduler::rewind(state, order, past, outputs, now));
}

Decision<Nothing> Coordinator::prune_checkpoints() {
  State& state = impl_->state;
  for (auto& [id, job] : state.jobs) scheduler::prune_checkpoints(state, job);
  return decide(state, Nothing{});
}

Decision<Nothing> Coordinator::limit_retained() {
  for (auto& [id, job] : impl_->state.jobs) scheduler::limit_retained(impl_->state, job);
  return decide(impl_->state, Nothing{});
}

Decision<Nothing> Coordinator::give_up_retained(JobId job_id, std::uint64_t sequence) {
  State& state = impl_->state;
  if (const auto found = state.jobs.find(job_id); found != state.jobs.end()) {
    while (!found->second.retained.empty() && found->second.retained.front().sequence <= sequence) {
      release_oldest(state, found->second);
    }
  }
  return decide(state, Nothing{});
}

Decision<Nothing> Coordinator::tick(TimePoint now) {
  expire_leases(impl_->state, now);
  return decide(impl_->state, Nothing{});
}

}  // namespace mh::scheduler
