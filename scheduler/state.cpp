// See state.h. Bookkeeping of states and queues; state_changes.cpp collects rows and effects.
#include "scheduler/state.h"

#include <algorithm>

#include "proto/base/check.h"

namespace mh::scheduler {
namespace {

template <class Map, class Id>
auto& entry(Map& map, Id id) {
  const auto found = map.find(id);
  MH_CHECK(found != map.end());
  return found->second;
}

std::set<WorkunitId>& waiting_queue(JobEntry& job, const WorkunitEntry& workunit) {
  if (workunit.row.kind == WorkKind::kEvaluation) return job.waiting_evaluations;
  return workunit.reported.empty() ? job.waiting_gradients : job.waiting_checks;
}

bool is_legal(ResultState from, ResultState to) {
  if (from == ResultState::kLeased) {
    return to != ResultState::kLeased && to != ResultState::kAgreed;
  }
  if (from == ResultState::kExpired) {
    return to != ResultState::kExpired && to != ResultState::kObsolete &&
           to != ResultState::kAgreed;
  }
  if (from == ResultState::kReported) {
    return to == ResultState::kValid || to == ResultState::kAgreed ||
           to == ResultState::kRejected || to == ResultState::kReturned ||
           to == ResultState::kObsolete;
  }
  return false;
}

bool is_legal(WorkunitState from, WorkunitState to) {
  switch (from) {
    case WorkunitState::kWaiting:
      // An expired result may come in while the workunit waits.
      return to != WorkunitState::kWaiting;
    case WorkunitState::kLeased:
      return to != WorkunitState::kLeased;
    case WorkunitState::kComparing:
      return to != WorkunitState::kComparing;
    case WorkunitState::kDone:
    case WorkunitState::kDropped:
      return false;
  }
  return false;
}

}  // namespace

JobEntry& State::job(JobId id) { return entry(jobs, id); }
HostEntry& State::host(HostId id) { return entry(hosts, id); }
WorkunitEntry& State::workunit(WorkunitId id) { return entry(workunits, id); }
ResultEntry& State::result(ResultId id) { return entry(results, id); }

ContributionEntry& State::contribution(JobEntry& owner, HostId host_id) {
  const auto [found, is_new] = owner.contributions.try_emplace(host_id);
  if (is_new) {
    found->second.row.job = owner.row.id;
    found->second.row.host = host_id;
  }
  return found->second;
}

SpeedEstimate State::speed(const JobEntry& owner, HostId host_id, WorkKind kind) const {
  const auto found = owner.contributions.find(host_id);
  if (found == owner.contributions.end()) return {};
  const SpeedEstimate& own = found->second.speed(kind);
  const WorkKind other = kind == WorkKind::kGradient ? WorkKind::kEvaluation : WorkKind::kGradient;
  return own.is_known() ? own : found->second.speed(other);
}

WorkunitEntry& State::add_workunit(JobEntry& owner, WorkunitRow row) {
  row.id = WorkunitId(++last_workunit);
  row.job = owner.row.id;
  row.state = WorkunitState::kWaiting;
  WorkunitEntry& added = workunits[row.id];
  added.row = row;
  added.gflop = static_cast<double>(added.sample_count()) * owner.gflop_per_sample(row.kind);
  if (!owner.has_waiting()) owner.pass = std::max(owner.pass, virtual_time);
  waiting_queue(owner, added).insert(row.id);
  if (owner.gives_work()) effects_.is_work_available = true;
  changed(added);
  return added;
}

void State::set_state(WorkunitEntry& target, WorkunitState to, TimePoint now) {
  MH_CHECK(is_legal(target.row.state, to));
  JobEntry& owner = job(target.row.job);
  if (target.row.state == WorkunitState::kWaiting) {
    // What it waited for may have changed since: it is in one of these.
    owner.waiting_gradients.erase(target.row.id);
    owner.waiting_checks.erase(target.row.id);
    owner.waiting_evaluations.erase(target.row.id);
  } else {
    clear_alarm(target, owner);
    owner.leased.erase(target.row.id);
  }
  target.row.state = to;
  if (to == WorkunitState::kWaiting) {
    if (!owner.has_waiting()) owner.pass = std::max(owner.pass, virtual_time);
    waiting_queue(owner, target).insert(target.row.id);
    target.waiting_since = now;
    if (owner.gives_work()) effects_.is_work_available = true;
  } else if (to == WorkunitState::kLeased) {
    owner.leased.insert(target.row.id);
  }
  changed(target);
}

ResultEntry& State::add_result(WorkunitEntry& target, HostEntry& to, TimePoint now) {
  const ResultId id(++last_result);
  ResultEntry& added = results[id];
  added.row.id = id;
  added.row.workunit = target.row.id;
  added.row.job = target.row.job;
  added.row.host = to.row.id;
  added.row.state = ResultState::kLeased;
  added.row.is_reissue = std::any_of(target.hosts_tried.begin(), target.hosts_tried.end(),
                                     [&](HostId other) { return other != to.row.id; });
  added.row.leased = now;
  added.last_sent = now;

  JobEntry& owner = job(target.row.job);
  const SpeedEstimate estimate = speed(owner, to.row.id, target.row.kind);
  const SpeedEstimate& typical = owner.typical_speed(target.row.kind);
  const std::size_t position = to.leases.size() + 1;
  added.row.lease_length = lease_length(options, estimate, typical, target.gflop, position);
  added.backup_due = now + backup_after(options, estimate, typical, target.gflop, position);
  if (const auto expected = estimate.expected(target.gflop)) {
    TimePoint free_at = now;
    for (const ResultId held : to.leases) {
      free_at = std::max(free_at, result(held).expected_end.value_or(now));
    }
    added.expected_end = free_at + *expected;
    added.backup_due = std::max(
        added.backup_due, free_at + backup_after(options, estimate, typical, target.gflop, 1));
  }
  to.leases.insert(id);
  to.last_leased = now;
  to.last_job = target.row.job;
  target.results.push_back(id);
  add_copy(target, owner, id);
  target.hosts_tried.insert(to.row.id);
  set_deadline(added, now + added.row.lease_length);
  if (target.row.kind == WorkKind::kGradient && to.row.origin.account != 0) {
    ++owner.leases_by_account[to.row.origin.account];
  }
  if (target.row.state != WorkunitState::kLeased) set_state(target, WorkunitState::kLeased, now);
  set_alarm(target, owner);
  changed(added);
  return added;
}

// Otherwise a host that always loses to the copies of its work would never be measured.
void State::note_loser(const ResultEntry& loser, TimePoint now) {
  const HostEntry& owner = host(loser.row.host);
  if (owner.last_seen + options.active_window <= now) return;
  const WorkunitEntry& work = workunit(loser.row.workunit);
  const auto elapsed = now - std::max(loser.row.leased, owner.last_report);
  contribution(job(loser.row.job), loser.row.host)
      .speed(work.row.kind)
      .add_at_least(elapsed, work.gflop);
}

void State::set_deadline(ResultEntry& target, TimePoint deadline) {
  deadlines.erase({target.deadline, target.row.id});
  target.deadline = deadline;
  deadlines.insert({deadline, target.row.id});
}

void State::set_state(ResultEntry& target, ResultState to, TimePoint now) {
  MH_CHECK(is_legal(target.row.state, to));
  WorkunitEntry& owner = workunit(target.row.workunit);
  HostEntry& holder = host(target.row.host);
  const bool was_leased = target.row.state == ResultState::kLeased;
  if (target.row.state == ResultState::kReported) {
    std::erase(owner.reported, target.row.id);
    std::erase_if(owner.distances, [&](const auto& entry) {
      return entry.first.first == target.row.id || entry.first.second == target.row.id;
    });
  }
  target.row.state = to;
  if (was_leased) {
    target.row.ended = now;
    holder.leases.erase(target.row.id);
    remove_copy(owner, job(owner.row.job), target.row.id);
    deadlines.erase({target.deadline, target.row.id});
    // It may have been left out because of what it held.
    if (asking.contains(holder.row.id)) effects_.is_work_available = true;
  }
  changed(target);

  if (to == ResultState::kLeased) {
    MH_CHECK(owner.row.state != WorkunitState::kDone);
    holder.leases.insert(target.row.id);
    add_copy(owner, job(owner.row.job), target.row.id);
    if (owner.row.state != WorkunitState::kLeased) set_state(owner, WorkunitState::kLeased, now);
    set_alarm(owner, job(owner.row.job));
  } else if (to == ResultState::kValid) {
    owner.row.canonical = target.row.id;
    set_state(owner, WorkunitState::kDone, now);
    const std::vector<ResultId> others = owner.leases;
    JobEntry& of = job(owner.row.job);
    of.valid_gflop += owner.gflop;
    of.row.wasted_gflop += owner.gflop * static_cast<double>(others.size());
    if (!others.empty()) changed(of);
    for (const ResultId other : others) {
      note_loser(result(other), now);
      set_state(result(other), ResultState::kObsolete, now);
    }
  } else if (to == ResultState::kReported) {
    MH_CHECK(owner.row.kind == WorkKind::kGradient && owner.row.state != WorkunitState::kDone);
    // The caller settles the workunit when it knows what is to be compared.
    owner.reported.push_back(target.row.id);
    if (!owner.leases.empty()) set_alarm(owner, job(owner.row.job));
  } else if (was_leased && owner.row.state == WorkunitState::kLeased) {
    if (owner.leases.empty()) {
      settle_idle(owner, now);
    } else {
      set_alarm(owner, job(owner.row.job));
    }
  }
}

void State::settle_idle(WorkunitEntry& target, TimePoint now) {
  if (target.row.state == WorkunitState::kDone || target.row.state == WorkunitState::kDropped) {
    return;
  }
  const bool is_comparing =
      std::any_of(target.distances.begin(), target.distances.end(),
                  [](const auto& entry) { return !entry.second.has_value(); });
  if (is_comparing && target.leases.empty()) {
    if (target.row.state != WorkunitState::kComparing) {
      set_state(target, WorkunitState::kComparing, now);
    }
    return;
  }
  if (!target.leases.empty()) return;
  JobEntry& owner = job(target.row.job);
  if (target.row.state != WorkunitState::kWaiting) {
    set_state(target, WorkunitState::kWaiting, now);
  } else if (!waiting_queue(owner, target).contains(target.row.id)) {
    owner.waiting_gradients.erase(target.row.id);
    owner.waiting_checks.erase(target.row.id);
    waiting_queue(owner, target).insert(target.row.id);
    target.waiting_since = now;
    if (owner.gives_work()) effects_.is_work_available = true;
  }
}

void State::add_copy(WorkunitEntry& target, JobEntry& owner, ResultId copy) {
  if (!target.leases.empty()) {
    ++owner.extra_count;
    owner.extra_gflop += target.gflop;
  }
  target.leases.push_back(copy);
}

void State::remove_copy(WorkunitEntry& target, JobEntry& owner, ResultId copy) {
  std::erase(target.leases, copy);
  if (target.leases.empty()) return;
  --owner.extra_count;
  // Sums of fractions do not come back to zero by themselves.
  owner.extra_gflop = owner.extra_count == 0 ? 0 : owner.extra_gflop - target.gflop;
}

void State::set_alarm(WorkunitEntry& target, JobEntry& owner) {
  clear_alarm(target, owner);
  if (target.leases.empty() || target.leases.size() >= options.copies_max) return;
  target.alarm = result(target.leases.back()).backup_due;
  alarms.insert({*target.alarm, target.row.id});
}

void State::clear_alarm(WorkunitEntry& target, JobEntry& owner) {
  if (target.alarm) alarms.erase({*target.alarm, target.row.id});
  target.alarm.reset();
  owner.overdue.erase(target.row.id);
}

void State::undo(WorkunitEntry& target, ResultState to) {
  MH_CHECK(target.row.state == WorkunitState::kDone);
  MH_CHECK(to == ResultState::kUndone || to == ResultState::kRejected);
  ResultEntry& counted = result(target.row.canonical);
  counted.row.state = to;
  target.row.state = WorkunitState::kDropped;
  target.row.canonical = {};
  changed(counted);
  changed(target);
}

void State::forget(WorkunitId id) {
  WorkunitEntry& target = workunit(id);
  MH_CHECK(target.leases.empty());
  for (const ResultId result_id : target.results) {
    ResultEntry& ended = result(result_id);
    std::deque<ResultRow>& finished = host(ended.row.host).finished;
    finished.push_back(std::move(ended.row));
    while (finished.size() > options.finished_results_kept) finished.pop_front();
    results.erase(result_id);
  }
  workunits.erase(id);
}

void State::set_state(JobEntry& target, JobState to, std::string reason, TimePoint now) {
  MH_CHECK(!target.has_ended() && target.row.state != to);
  target.row.state = to;
  target.row.state_reason = std::move(reason);
  if (target.has_ended()) {
    target.row.finished = now;
    live_jobs.erase(target.row.id);
    effects_.jobs_ended.push_back(target.row.id);
  } else if (to == JobState::kRunning) {
    target.pass = std::max(target.pass, virtual_time);
    effects_.is_work_available = true;
  }
  touch(target);
}

void State::revive(JobEntry& target) {
  MH_CHECK(target.has_ended());
  target.row.state = JobState::kRunning;
  target.row.state_reason.clear();
  target.row.finished = {};
  live_jobs.insert(target.row.id);
  target.pass = std::max(target.pass, virtual_time);
  touch(target);
}

void expire_leases(State& state, TimePoint now) {
  while (!state.deadlines.empty() && state.deadlines.begin()->first <= now) {
    ResultEntry& result = state.result(state.deadlines.begin()->second);
    HostEntry& host = state.host(result.row.host);
    JobEntry& job = state.job(result.row.job);
    const WorkunitRow& workunit = state.workunit(result.row.workunit).row;
    ++host.row.lost_count;
    host.row.lease_quota = std::max<std::uint32_t>(1, host.row.lease_quota / 2);
    state.changed(host);
    ContributionEntry& contribution = state.contribution(job, host.row.id);
    ++contribution.row.lost_count;
    state.changed(contribution);
    state.log(job, now,
              "result " + to_string(result.row.id) + " of shard " + std::to_string(workunit.shard) +
                  " is lost: no word from " + host_text(host) + " until its deadline");
    state.set_state(result, ResultState::kExpired, now);
  }
  while (!state.alarms.empty() && state.alarms.begin()->first <= now) {
    WorkunitEntry& workunit = state.workunit(state.alarms.begin()->second);
    state.alarms.erase(state.alarms.begin());
    workunit.alarm.reset();
    JobEntry& job = state.job(workunit.row.job);
    job.overdue.insert(workunit.row.id);
    if (job.gives_work()) state.effects().is_work_available = true;
  }
}

std::string host_text(const HostEntry& host) {
  return "host " + to_string(host.row.id) + " (" + host.row.description.name + ")";
}

}  // namespace mh::scheduler
