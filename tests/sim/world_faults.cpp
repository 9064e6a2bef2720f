// See world.h. Here: what goes wrong, what the admin does, and how it ends.
#include <algorithm>

#include "tests/sim/world.h"

namespace mh::sim {
namespace {

// Hosts dropped at once come back by themselves; the server's admin looks in so often at the end.
constexpr double kOrderSeconds = 1;
constexpr double kClockHoursMax = 48 * 3'600;

milliseconds to_ms(double seconds) {
  return milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

void World::schedule(EventKind kind, double seconds) {
  Event event;
  event.kind = kind;
  events_.schedule_in(to_ms(seconds), event);
}

void World::schedule_next(EventKind kind, double mean_seconds) {
  if (mean_seconds > 0) schedule(kind, faults_.exponential(mean_seconds));
}

void World::plan_faults() {
  schedule_next(EventKind::kServerCrash, scenario_.crash_every);
  schedule_next(EventKind::kPartitionBegin, scenario_.partition_every);
  schedule_next(EventKind::kDiskFull, scenario_.disk_full_every);
  schedule_next(EventKind::kDropout, scenario_.dropout_every);
  schedule_next(EventKind::kClockJump, scenario_.jump_every / scenario_.host_count);
  // Hosts must be there before they can be trusted.
  schedule(EventKind::kAdmin, kOrderSeconds);
  if (scenario_.is_endless == 0) schedule(EventKind::kFaultsEnd, scenario_.duration);
}

void World::handle_fault(const Event& event) {
  if (event.kind == EventKind::kFaultsEnd) return end_faults();
  if (event.kind == EventKind::kAdmin) return administrate();
  if (environment_.is_healed) return;
  switch (event.kind) {
    case EventKind::kServerCrash:
      server_.crash(faults_.chance(scenario_.torn));
      return schedule_next(EventKind::kServerCrash, scenario_.crash_every);
    case EventKind::kPartitionBegin:
      partition();
      return schedule_next(EventKind::kPartitionBegin, scenario_.partition_every);
    case EventKind::kDiskFull:
      server_.set_disk_full(true);
      return schedule_next(EventKind::kDiskFree, scenario_.disk_full_length);
    case EventKind::kDiskFree:
      server_.set_disk_full(false);
      return schedule_next(EventKind::kDiskFull, scenario_.disk_full_every);
    case EventKind::kDropout:
      drop_out();
      return schedule_next(EventKind::kDropout, scenario_.dropout_every);
    case EventKind::kClockJump:
      jump_clock();
      return schedule_next(EventKind::kClockJump, scenario_.jump_every / scenario_.host_count);
    default:
      return;
  }
}

void World::partition() {
  const TimePoint until = events_.now() + to_ms(faults_.exponential(scenario_.partition_length));
  for (std::uint32_t index = 0; index < hosts_.size(); ++index) {
    if (faults_.chance(scenario_.partition_share)) network_.cut(index, until);
  }
}

void World::drop_out() {
  for (const auto& host : hosts_) {
    if (faults_.chance(scenario_.dropout_share)) host->kill();
  }
}

void World::jump_clock() {
  const double sign = faults_.chance(0.5) ? 1 : -1;
  const double seconds = std::min(kClockHoursMax, faults_.log_normal(scenario_.jump, 1));
  hosts_[faults_.below(hosts_.size())]->jump_clock(sign * seconds);
}

// ---- The admin ----

void World::administrate() {
  if (environment_.is_healed) return put_in_order();
  if (server_.is_up()) submit_jobs();
  trust_hosts();
  if (scenario_.admin_every <= 0) return schedule(EventKind::kAdmin, scenario_.day / 20);
  schedule(EventKind::kAdmin, admin_.exponential(scenario_.admin_every));
  const SimJob& job = environment_.jobs[admin_.below(environment_.jobs.size())];
  if (admin_.chance(scenario_.cancel)) {
    return server_.update_job(job.id, scheduler::JobAction::kCancel, 0);
  }
  const auto priority = static_cast<std::uint32_t>(admin_.below(101));
  Host& host = *hosts_[admin_.below(hosts_.size())];
  switch (admin_.below(4)) {
    case 0:
      return server_.update_job(job.id, scheduler::JobAction::kPause, 0);
    case 1:
      return server_.update_job(job.id, scheduler::JobAction::kResume, 0);
    case 2:
      return server_.update_job(job.id, scheduler::JobAction::kSetPriority, priority);
    default:
      if (host.id()) server_.set_trust(*host.id(), admin_.chance(0.5));
      return;
  }
}

// A share of the hosts that have attached since, as the scenario wants.
void World::trust_hosts() {
  if (!server_.is_up()) return;
  for (; trusted_until_ < hosts_.size(); ++trusted_until_) {
    const Host& host = *hosts_[trusted_until_];
    if (host.has_left()) continue;
    if (!host.id()) return;
    const bool is_chosen = admin_.chance(scenario_.trusted_share) || trusted_until_ == 0;
    if (is_chosen) server_.set_trust(*host.id(), true);
  }
}

void World::end_faults() {
  environment_.is_healed = true;
  network_.heal();
  server_.set_disk_full(false);
  for (const auto& host : hosts_) host->heal();
}

// Every job runs and a host is trusted: from here on all must go well.
void World::put_in_order() {
  const Host& anchor = *hosts_.front();
  const bool can_act = server_.is_up() && anchor.id();
  if (!can_act) return schedule(EventKind::kAdmin, kOrderSeconds);
  submit_jobs();
  server_.set_trust(*anchor.id(), true);
  for (const SimJob& job : environment_.jobs) {
    server_.update_job(job.id, scheduler::JobAction::kResume, 0);
  }
  // The server may have crashed before this was written.
  if (!server_.has_ended()) schedule(EventKind::kAdmin, 10 * kOrderSeconds);
}

}  // namespace mh::sim
