// See assigner.h.
#include "scheduler/assigner.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "scheduler/checks.h"
#include "scheduler/competition.h"
#include "scheduler/no_work.h"
#include "scheduler/planner.h"
#include "scheduler/spread.h"

namespace mh::scheduler {
namespace {

// Workunits looked at in one queue: bounds the cost of one call whatever the size of the job.
constexpr std::size_t kCandidatesMax = 64;
// A slow host gets work again after so many times what it needs, for it may have become faster.
constexpr int kSlowPause = 8;
// How soon a call is asked again whose host must leave what waits to others.
constexpr std::chrono::milliseconds kSpreadRetry{1'000};
// Time of a workunit for shares among jobs while nothing is measured.
constexpr std::chrono::milliseconds kExpectedUnknown{100};

void retry_no_later(ExchangeReply& reply, TimePoint at) {
  if (!reply.retry_at || at < *reply.retry_at) reply.retry_at = at;
}

class Assigner {
 public:
  Assigner(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now,
           ExchangeReply& reply)
      : state_(state),
        host_(host),
        event_(event),
        now_(now),
        reply_(reply),
        competition_(state, host, now) {}

  void run() {
    reply_.is_drained = !is_work_waiting();
    resend_lost();
    const bool may_ask = host_.asks.take(state_.options.asks, event_.received, now_);
    if (event_.wanted == 0) {
      // A report says nothing about the call that asks for work beside it.
      if (event_.reports.empty()) state_.asking.erase(host_.row.id);
      return;
    }
    if (host_.row.standing == Standing::kBanned) {
      MH_PROBE("a banned host asks");
    } else if (host_.paused_until > now_) {
      MH_PROBE("a host asks while it pauses after failures");
      retry_no_later(reply_, host_.paused_until);
    } else if (!may_ask) {
      reply_.is_slowed = true;
      retry_no_later(reply_, host_.asks.next_at(state_.options.asks, now_));
    } else {
      while (is_more_wanted() && assign_next()) {
      }
      if (is_more_wanted() && host_.leases.empty()) back_up();
    }
    if (reply_.assignments.size() < event_.wanted) {
      state_.asking.insert(host_.row.id);
    } else {
      state_.asking.erase(host_.row.id);
    }
    reply_.is_drained = !is_work_waiting();
    if (reply_.assignments.empty()) explain_no_work(state_, host_, now_, reply_);
  }

 private:
  bool is_more_wanted() const {
    const std::size_t most =
        host_.row.standing == Standing::kLimited ? 1 : std::size_t{host_.row.lease_quota};
    return reply_.assignments.size() < event_.wanted && host_.leases.size() < most;
  }

  bool is_work_waiting() const {
    return std::any_of(state_.live_jobs.begin(), state_.live_jobs.end(), [&](JobId id) {
      const JobEntry& job = state_.jobs.at(id);
      return job.gives_work() && (!job.waiting_gradients.empty() || !job.waiting_checks.empty() ||
                                  (!job.overdue.empty() && may_waste(job, job.gflop_per_shard())) ||
                                  (!job.waiting_evaluations.empty() && !state_.trusted.empty()));
    });
  }

  // Rule 6.
  void resend_lost() {
    const std::set<ResultId> held(event_.held.begin(), event_.held.end());
    for (const ResultId id : host_.leases) {
      if (held.contains(id)) continue;
      ResultEntry& result = state_.result(id);
      if (now_ >= renewable_until(state_.options, result.row.leased, result.row.lease_length)) {
        MH_PROBE("a lease that seems lost is too old to be sent again");
        continue;
      }
      const bool is_old = result.last_sent < event_.received &&
                          result.last_sent + state_.options.resend_after <= now_;
      if (!is_old && !event_.description) {
        if (result.last_sent < event_.received) {
          retry_no_later(reply_, result.last_sent + state_.options.resend_after);
        }
        continue;
      }
      MH_PROBE("a lease that seems lost is sent again");
      result.last_sent = now_;
      state_.set_deadline(result, now_ + result.row.lease_length);
      add_assignment(result);
    }
  }

  // Rule 7: running jobs, the one furthest behind first.
  std::vector<JobEntry*> jobs_in_order() {
    std::vector<std::pair<double, JobEntry*>> keyed;
    for (const JobId id : state_.live_jobs) {
      JobEntry& job = state_.job(id);
      if (!job.gives_work() || !job.fits(host_.row)) continue;
      double key = job.pass;
      if (!host_.holdings.contains(job.row.manifest_digest)) {
        key += state_.options.holding_penalty *
               stride(job, WorkKind::kGradient, job.gflop_per_shard());
      }
      keyed.emplace_back(key, &job);
    }
    std::stable_sort(keyed.begin(), keyed.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<JobEntry*> jobs;
    for (const auto& [key, job] : keyed) jobs.push_back(job);
    return jobs;
  }

  // What one lease moves the job on: seconds of this host's time by weight.
  double stride(const JobEntry& job, WorkKind kind, double gflop) const {
    const auto expected = competition_.own_speed(job, kind).expected(gflop);
    const auto ms = static_cast<double>(expected.value_or(kExpectedUnknown).count());
    return ms / 1000 / (job.row.priority + 1);
  }

  bool assign_next() {
    for (JobEntry* job : jobs_in_order()) {
      WorkunitEntry* workunit = nullptr;
      if (host_.row.is_trusted) workunit = waiting_in(*job, job->waiting_evaluations);
      // What was reported already holds up others that wait for the step.
      if (!workunit) workunit = waiting_in(*job, job->waiting_checks);
      if (!workunit) workunit = waiting_in(*job, job->waiting_gradients);
      if (!workunit) continue;
      lease(*job, *workunit);
      return true;
    }
    return false;
  }

  // Rules 8, 9, 10.
  WorkunitEntry* waiting_in(JobEntry& job, const std::set<WorkunitId>& queue) {
    std::size_t looked_at = 0;
    for (const WorkunitId id : queue) {
      if (++looked_at > kCandidatesMax) break;
      WorkunitEntry& workunit = state_.workunit(id);
      if (!workunit.reported.empty() && !is_ours_to_check(job, workunit)) continue;
      if (has_its_share(job, workunit)) continue;
      if (workunit.hosts_tried.contains(host_.row.id)) {
        const TimePoint own_copy_at = workunit.waiting_since + state_.options.own_copy_wait;
        if (own_copy_at > now_) {
          MH_PROBE("a host must wait for a workunit that it had before");
          retry_no_later(reply_, own_copy_at);
          continue;
        }
        MH_PROBE("a host gets a workunit that it had before");
      }
      if (!is_spread(job, workunit)) {
        MH_PROBE("a workunit is kept for another host");
        retry_no_later(reply_, now_ + kSpreadRetry);
        continue;
      }
      // Others may not do what is kept for a trusted host.
      const bool is_kept = host_.row.is_trusted && !workunit.reported.empty();
      if (!is_kept && (!host_.leases.empty() || is_slow(job, workunit)) &&
          competition_.is_better_left(job, workunit, queue.size())) {
        if (host_.leases.empty()) MH_PROBE("a slow host leaves a workunit to faster ones");
        MH_PROBE("a workunit is better left to others");
        return nullptr;
      }
      return &workunit;
    }
    return nullptr;
  }

  // Rule 20.
  bool is_ours_to_check(const JobEntry& job, const WorkunitEntry& workunit) {
    if (!may_check(state_, job, workunit, host_, now_)) return false;
    if (host_.row.is_trusted) return true;
    const TimePoint open_at = kept_for_trusted_until(state_, job, workunit, now_);
    if (open_at <= now_) return true;
    MH_PROBE("a check is kept for a trusted host");
    retry_no_later(reply_, open_at);
    return false;
  }

  // Rule 25.
  bool has_its_share(const JobEntry& job, const WorkunitEntry& workunit) {
    const std::uint64_t account = host_.row.origin.account;
    if (account == 0 || host_.row.is_trusted || job.workunits.size() < 2 ||
        workunit.row.kind != WorkKind::kGradient ||
        job.row.validation.mode == ValidationMode::kNone) {
      return false;
    }
    const auto found = job.leases_by_account.find(account);
    const double most =
        state_.options.account_share_max * static_cast<double>(job.workunits.size());
    if (found == job.leases_by_account.end() || static_cast<double>(found->second) < most) {
      return false;
    }
    const TimePoint open_at =
        std::max({workunit.waiting_since, job.row.last_step, job.row.created}) +
        state_.options.account_wait;
    if (open_at <= now_) return false;
    MH_PROBE("an account has had its share of a step");
    retry_no_later(reply_, open_at);
    return true;
  }

  // Rule 27. What it is computed from is kept until something is leased.
  bool is_spread(const JobEntry& job, const WorkunitEntry& workunit) {
    // Who confirms a result takes no part: the first reported of those that agree does.
    const bool is_check = !workunit.reported.empty();
    if (job.row.hosts_min <= 1 || is_check || workunit.row.kind != WorkKind::kGradient) return true;
    if (spread_job_ != job.row.id) {
      spread_.emplace(state_, job);
      spread_job_ = job.row.id;
    }
    return spread_->may_take(workunit.row.id, host_.row.id);
  }

  // The same, but now and then it gets work, to see. Sets when to look again.
  bool is_slow(const JobEntry& job, const WorkunitEntry& workunit) {
    const WorkKind kind = workunit.row.kind;
    if (!competition_.is_known_slow(job, kind)) return false;
    const TimePoint again =
        host_.last_leased +
        kSlowPause * *competition_.own_speed(job, kind).expected(workunit.gflop);
    if (again <= now_) {
      MH_PROBE("a slow host gets work, to see whether it still is");
      return false;
    }
    retry_no_later(reply_, again);
    return true;
  }

  // Rule 11.
  void back_up() {
    for (JobEntry* job : jobs_in_order()) {
      if (competition_.leaves_copies(*job)) {
        MH_PROBE("a slow host leaves a copy to faster ones");
        continue;
      }
      if (WorkunitEntry* workunit = overdue_in(*job)) {
        MH_PROBE("a backup of an overdue workunit");
        state_.log(
            *job, now_,
            "shard " + std::to_string(workunit->row.shard) + " goes to " + host_text(host_) +
                " too: " + host_text(state_.host(state_.result(workunit->leases.back()).row.host)) +
                " is late with it");
        lease(*job, *workunit);
        return;
      }
      if (WorkunitEntry* workunit = slow_in(*job)) {
        MH_PROBE("a backup that a faster host finishes first");
        lease(*job, *workunit);
        return;
      }
    }
  }

  // Rule 11: the bound on what copies may waste.
  bool may_waste(const JobEntry& job, double gflop) const {
    const CoordinatorOptions& options = state_.options;
    const std::size_t of_hosts = options.backup_copies_free > 0 ? 2 * job.contributions.size() : 0;
    const auto free =
        static_cast<double>(std::max<std::size_t>(options.backup_copies_free, of_hosts));
    const double allowed = options.backup_share_max * job.valid_gflop + free * gflop;
    return job.row.wasted_gflop + job.extra_gflop + gflop <= allowed;
  }

  bool may_back_up(const JobEntry& job, const WorkunitEntry& workunit) {
    if (!may_waste(job, workunit.gflop) || !is_spread(job, workunit)) return false;
    if (workunit.row.kind == WorkKind::kEvaluation && !host_.row.is_trusted) return false;
    if (workunit.hosts_failed.contains(host_.row.id)) return false;
    if (!workunit.reported.empty() && !may_check(state_, job, workunit, host_, now_)) return false;
    return std::none_of(workunit.leases.begin(), workunit.leases.end(), [&](ResultId id) {
      return state_.results.at(id).row.host == host_.row.id;
    });
  }

  WorkunitEntry* overdue_in(JobEntry& job) {
    std::size_t looked_at = 0;
    for (auto at = job.overdue.begin(); at != job.overdue.end() && looked_at < kCandidatesMax;) {
      ++looked_at;
      WorkunitEntry& workunit = state_.workunit(*at);
      ++at;
      if (is_late(job, workunit) && may_back_up(job, workunit) &&
          is_sooner_than_lease(job, workunit)) {
        return &workunit;
      }
    }
    return nullptr;
  }

  // Its alarm may have been set before it was known what is typical of this job.
  bool is_late(JobEntry& job, WorkunitEntry& workunit) {
    ResultEntry& newest = state_.result(workunit.leases.back());
    const WorkKind kind = workunit.row.kind;
    if (newest.expected_end || !job.typical_speed(kind).is_known()) return true;
    const TimePoint due =
        newest.row.leased +
        backup_after(state_.options, {}, job.typical_speed(kind), workunit.gflop, 1);
    if (due <= now_) return true;
    MH_PROBE("a lease that seemed late is typical");
    newest.backup_due = due;
    state_.set_alarm(workunit, job);
    return false;
  }

  // A host that would not be done before the lease runs out helps nobody before then. A holder that
  // renews it may go on doing so.
  bool is_sooner_than_lease(const JobEntry& job, const WorkunitEntry& workunit) const {
    const auto own = competition_.own_speed(job, workunit.row.kind).expected(workunit.gflop);
    const ResultEntry& newest = state_.results.at(workunit.leases.back());
    const auto length = newest.row.lease_length;
    const bool is_renewed = newest.deadline > newest.row.leased + length;
    const TimePoint end =
        is_renewed ? renewable_until(state_.options, newest.row.leased, length) : newest.deadline;
    return !own || now_ + *own <= end;
  }

  WorkunitEntry* slow_in(JobEntry& job) {
    if (state_.options.copies_max < 2) return nullptr;
    std::size_t looked_at = 0;
    for (const WorkunitId id : job.leased) {
      if (++looked_at > kCandidatesMax) break;
      WorkunitEntry& workunit = state_.workunit(id);
      if (workunit.leases.size() != 1 || !may_back_up(job, workunit)) continue;
      const auto own = competition_.own_speed(job, workunit.row.kind).expected(workunit.gflop);
      const ResultEntry& holder = state_.results.at(workunit.leases.front());
      if (!own || !holder.expected_end) continue;
      const auto remaining = *holder.expected_end - now_;
      if (remaining > state_.options.backup_min && remaining > *own * 2) return &workunit;
    }
    return nullptr;
  }

  void lease(JobEntry& job, WorkunitEntry& workunit) {
    state_.virtual_time = std::max(state_.virtual_time, job.pass);
    job.pass += stride(job, workunit.row.kind, workunit.gflop);
    ResultEntry& result = state_.add_result(workunit, host_, now_);
    spread_job_ = {};
    ContributionEntry& contribution = state_.contribution(job, host_.row.id);
    contribution.last_active = now_;
    if (job.row.started == TimePoint{}) {
      job.row.started = now_;
      state_.touch(job);
    }
    add_assignment(result);
  }

  void add_assignment(const ResultEntry& result) {
    const WorkunitEntry& workunit = state_.workunit(result.row.workunit);
    const JobEntry& job = state_.job(workunit.row.job);
    const bool is_gradient = workunit.row.kind == WorkKind::kGradient;
    Assignment assignment;
    assignment.result = result.row.id;
    assignment.workunit = workunit.row.id;
    assignment.job = job.row.id;
    assignment.job_name = job.row.name;
    assignment.kind = workunit.row.kind;
    assignment.step = workunit.row.step;
    assignment.job_digest = job.row.job_digest;
    assignment.parameters_digest = job.checkpoints.at(workunit.row.step).parameters_digest;
    assignment.manifest_digest = job.row.manifest_digest;
    assignment.begin = workunit.row.begin;
    assignment.end = workunit.row.end;
    assignment.split = is_gradient ? "train" : job.row.evaluation_split;
    if (!is_gradient) {
      assignment.chunk_indices =
          chunks_of({workunit.row.begin, workunit.row.end}, job.row.evaluation_chunk_samples);
    }
    assignment.lease = result.row.lease_length;
    assignment.flops = workunit.gflop * 1e9;
    assignment.is_pinned = job.row.is_pinned;
    reply_.assignments.push_back(std::move(assignment));
  }

  State& state_;
  HostEntry& host_;
  const ExchangeEvent& event_;
  TimePoint now_;
  ExchangeReply& reply_;
  Competition competition_;
  std::optional<Spread> spread_;
  JobId spread_job_;
};

// The host names it only because its report and this call crossed.
bool is_finished_valid(const HostEntry& host, ResultId id) {
  return std::any_of(host.finished.begin(), host.finished.end(), [&](const ResultRow& row) {
    return row.id == id && row.state == ResultState::kValid;
  });
}

// A lease that ran out is taken up again only where a new copy would be allowed.
bool may_take_up(const State& state, const HostEntry& host, const WorkunitEntry& workunit) {
  if (host.row.standing == Standing::kBanned) return false;
  if (host.leases.size() >= state.options.quota_max) return false;
  if (workunit.leases.size() >= state.options.copies_max) {
    MH_PROBE("an expired lease is named while enough copies live");
    return false;
  }
  return std::none_of(workunit.leases.begin(), workunit.leases.end(),
                      [&](ResultId id) { return state.results.at(id).row.host == host.row.id; });
}

// Renewed from the time of the request: a held call that is asked again proves nothing new.
void renew_lease(State& state, HostEntry& host, ResultEntry& result, TimePoint received,
                 TimePoint now, ExchangeReply& reply) {
  const bool is_young =
      received < renewable_until(state.options, result.row.leased, result.row.lease_length);
  const TimePoint deadline = received + result.row.lease_length;
  if (result.row.state == ResultState::kLeased) {
    if (is_young && deadline > result.deadline) state.set_deadline(result, deadline);
  } else if (result.row.state == ResultState::kExpired) {
    const WorkunitEntry& workunit = state.workunit(result.row.workunit);
    if (workunit.row.state == WorkunitState::kDone) {
      MH_PROBE("an expired lease is revoked: its workunit is done");
      reply.revoked.push_back(result.row.id);
    } else if (is_young && deadline > now && may_take_up(state, host, workunit)) {
      MH_PROBE("an expired lease is taken up again");
      state.set_state(result, ResultState::kLeased, now);
      state.set_deadline(result, deadline);
    }
  } else if (result.row.state != ResultState::kValid) {
    reply.revoked.push_back(result.row.id);
  }
  if (result.row.state == ResultState::kLeased) {
    TimePoint& last_active = state.contribution(state.job(result.row.job), host.row.id).last_active;
    last_active = std::max(last_active, received);
  }
}

}  // namespace

void renew_leases(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now,
                  ExchangeReply& reply) {
  for (const ResultId id : event.held) {
    const auto found = state.results.find(id);
    if (found == state.results.end() || found->second.row.host != host.row.id) {
      if (!is_finished_valid(host, id)) reply.revoked.push_back(id);
      continue;
    }
    renew_lease(state, host, found->second, event.received, now, reply);
  }
}

void assign_work(State& state, HostEntry& host, const ExchangeEvent& event, TimePoint now,
                 ExchangeReply& reply) {
  Assigner(state, host, event, now, reply).run();
}

}  // namespace mh::scheduler
