// See competition.h.
#include "scheduler/competition.h"

#include <algorithm>
#include <cmath>

namespace mh::scheduler {
namespace {

// Hosts looked at among those that ask, and workunits among those leased: bounds the cost of one
// call.
constexpr std::size_t kSampleMax = 64;
// A host that needs so many times what is typical is slow: fast ones may be better.
constexpr double kSlowFactor = 4;

}  // namespace

template <class Visit>
void Competition::for_each_asking(const Visit& visit) {
  std::size_t looked_at = 0;
  for (auto at = state_.asking.begin(); at != state_.asking.end() && looked_at < kSampleMax;) {
    if (state_.host(*at).last_seen + state_.options.active_window <= now_) {
      at = state_.asking.erase(at);
      continue;
    }
    ++looked_at;
    if (!visit(*at)) return;
    ++at;
  }
}

const SpeedEstimate& Competition::own_speed(const JobEntry& job, WorkKind kind) const {
  if (known_speed_.job != job.row.id || known_speed_.kind != kind) {
    known_speed_ = {job.row.id, kind, state_.speed(job, host_.row.id, kind)};
  }
  return known_speed_.speed;
}

bool Competition::is_known_slow(const JobEntry& job, WorkKind kind) const {
  const SpeedEstimate& own = own_speed(job, kind);
  const SpeedEstimate& typical = job.typical_speed(kind);
  return own.count >= 2 && typical.is_known() && own.mean > kSlowFactor * typical.mean;
}

// How many workunits each of the others may do while this host does one, at most; a guess that
// saves looking at them.
double Competition::head_start(const JobEntry& job, const WorkunitEntry& workunit) const {
  const WorkKind kind = workunit.row.kind;
  const SpeedEstimate own = own_speed(job, kind);
  const SpeedEstimate& typical = job.typical_speed(kind);
  if (!own.is_known() || !typical.is_known()) return 2;
  return std::max(2.0, 2 * own.mean / typical.mean);
}

bool Competition::is_better_left(JobEntry& job, const WorkunitEntry& workunit,
                                 std::size_t queue_size) {
  const auto waiting = static_cast<double>(queue_size);
  const auto all = static_cast<double>(state_.asking.size() + job.leased.size());
  if (waiting >= head_start(job, workunit) * (all + 1)) return false;
  const Competitors others = competitors(job);
  const TimePoint own_end = expected_end(host_, job, workunit);
  double count = 0;
  for (const HostId id : others.sample) {
    const HostEntry& other = state_.host(id);
    if (!job.fits(other.row) || !may_compete(other, workunit)) continue;
    const auto duration = expected_duration(other, job, workunit);
    const auto left = own_end - expected_free(other, duration);
    if (left <= duration) continue;
    count +=
        std::ceil(static_cast<double>(left.count()) / static_cast<double>(duration.count())) - 1;
  }
  return waiting <= count * others.scale;
}

bool Competition::leaves_copies(const JobEntry& job) {
  if (!is_known_slow(job, WorkKind::kGradient)) return false;
  const double own = own_speed(job, WorkKind::kGradient).mean;
  bool is_faster_there = false;
  for_each_asking([&](HostId id) {
    const HostEntry& other = state_.host(id);
    const SpeedEstimate speed = state_.speed(job, id, WorkKind::kGradient);
    is_faster_there = id != host_.row.id && other.leases.empty() && job.fits(other.row) &&
                      other.paused_until <= now_ && speed.is_known() &&
                      speed.mean * kSlowFactor < own;
    return !is_faster_there;
  });
  return is_faster_there;
}

// Hosts that work for the job or ask for work, without this one.
Competition::Competitors Competition::competitors(const JobEntry& job) {
  std::vector<HostId> found;
  found.reserve(3 * kSampleMax);
  std::size_t looked_at = 0;
  for_each_asking([&](HostId id) {
    ++looked_at;
    found.push_back(id);
    return true;
  });
  for (const WorkunitId id : job.leased) {
    if (looked_at >= 2 * kSampleMax) break;
    ++looked_at;
    for (const ResultId result : state_.workunits.at(id).leases) {
      found.push_back(state_.results.at(result).row.host);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::erase(found, host_.row.id);
  const std::size_t all = state_.asking.size() + job.leased.size();
  const auto looked = static_cast<double>(std::max<std::size_t>(looked_at, 1));
  return {std::move(found), std::max(1.0, static_cast<double>(all) / looked)};
}

bool Competition::may_compete(const HostEntry& other, const WorkunitEntry& workunit) const {
  if (other.last_seen + state_.options.active_window <= now_ || other.paused_until > now_) {
    return false;
  }
  if (workunit.row.kind == WorkKind::kEvaluation && !other.row.is_trusted) return false;
  if (workunit.hosts_tried.contains(other.row.id)) return false;
  return std::none_of(other.leases.begin(), other.leases.end(),
                      [&](ResultId id) { return state_.results.at(id).backup_due <= now_; });
}

// A host without measurement is taken to be as fast as the one that asks, or to need a second.
std::chrono::milliseconds Competition::expected_duration(const HostEntry& host, const JobEntry& job,
                                                         const WorkunitEntry& workunit) const {
  const WorkKind kind = workunit.row.kind;
  const auto own = state_.speed(job, host.row.id, kind).expected(workunit.gflop);
  if (own) return *own;
  return own_speed(job, kind).expected(workunit.gflop).value_or(std::chrono::milliseconds(1'000));
}

// When the host would be done with what it has.
TimePoint Competition::expected_free(const HostEntry& host,
                                     std::chrono::milliseconds duration) const {
  TimePoint free_at = now_;
  for (const ResultId id : host.leases) {
    const ResultEntry& result = state_.results.at(id);
    free_at = std::max(free_at, result.expected_end.value_or(result.row.leased + duration));
  }
  return free_at;
}

TimePoint Competition::expected_end(const HostEntry& host, const JobEntry& job,
                                    const WorkunitEntry& workunit) const {
  const auto duration = expected_duration(host, job, workunit);
  return expected_free(host, duration) + duration;
}

}  // namespace mh::scheduler
