// See checks.h.
#include "scheduler/checks.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "proto/base/random.h"
#include "scheduler/credit.h"
#include "scheduler/outcomes.h"
#include "scheduler/quorum.h"
#include "scheduler/standing.h"

namespace mh::scheduler {
namespace {

// Norms that are needed before one can stand out.
constexpr std::size_t kNormsMin = 8;
constexpr std::uint64_t kDrawPurpose = 0x636865636B;

// Rule 22. Written so that NaN stands out.
bool stands_out(const State& state, const JobEntry& job, double mean_norm) {
  if (job.norms.size() < kNormsMin) return false;
  std::vector<double> sorted(job.norms.begin(), job.norms.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double factor = state.options.norm_factor;
  return !(mean_norm <= *middle * factor && mean_norm * factor >= *middle);
}

// A number in [0, 1) that the host could not know when it committed to the update.
double draw(const State& state, const ResultRow& result) {
  std::uint64_t committed = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    committed = (committed << 8) | static_cast<std::uint64_t>(result.update_digest.bytes[i]);
  }
  const std::uint64_t key =
      derive_key(state.options.check_key ^ committed, kDrawPurpose, result.id.value());
  return uniform_double(Philox4x32(key).next64());
}

bool is_check_due(const State& state, const JobEntry& job, const HostEntry& host,
                  const ResultRow& result, double mean_norm) {
  const ValidationPolicy& policy = job.row.validation;
  if (policy.mode == ValidationMode::kNone || host.row.is_trusted) return false;
  if (policy.mode == ValidationMode::kAll || host.row.standing != Standing::kRecord) return true;
  if (stands_out(state, job, mean_norm)) {
    MH_PROBE("a gradient whose norm stands out is checked");
    return true;
  }
  const double in_row = static_cast<double>(std::max<std::uint64_t>(1, host.row.valid_in_row));
  const bool is_drawn = draw(state, result) < std::max(1 / in_row, policy.check_share_min);
  if (is_drawn) MH_PROBE("a result of a host with a record is drawn for a check");
  return is_drawn;
}

// Joins those that wait, and asks for the distances that equal digests do not give.
void report(State& state, WorkunitEntry& workunit, ResultEntry& result, TimePoint now) {
  const ResultId id = result.row.id;
  add_distances(state, workunit, result.row);
  state.blobs.add(result.row.update_digest);
  state.effects().updates_reported.push_back(result.row.update_digest);
  state.set_state(result, ResultState::kReported, now);
  ask_for_comparisons(state, workunit, id);
  decide_reported(state, workunit, now);
}

}  // namespace

bool may_check(const State& state, const JobEntry& job, const WorkunitEntry& workunit,
               const HostEntry& host, TimePoint now) {
  if (host.row.standing >= Standing::kLimited && !is_reliable(host)) return false;
  bool is_reliable_among = is_reliable(host);
  for (const ResultId id : workunit.reported) {
    const HostEntry& reporter = state.hosts.at(state.results.at(id).row.host);
    if (reporter.row.id == host.row.id) return false;
    if (host.row.is_trusted) continue;
    if (is_same_party(reporter.row.origin, host.row.origin)) return false;
    if (job.row.validation.is_homogeneous &&
        device_class(reporter.row.description) != device_class(host.row.description)) {
      return false;
    }
    is_reliable_among = is_reliable_among || is_reliable(reporter);
  }
  return is_reliable_among || !are_reliable_hosts_active(state, now);
}

TimePoint kept_for_trusted_until(const State& state, const JobEntry& job,
                                 const WorkunitEntry& workunit, TimePoint now) {
  const bool has_record =
      std::any_of(workunit.reported.begin(), workunit.reported.end(), [&](ResultId id) {
        return state.hosts.at(state.results.at(id).row.host).row.standing == Standing::kRecord;
      });
  if (!has_record) return {};
  const bool is_one_active = is_any_of_the_first(state.trusted, [&](HostId id) {
    const HostEntry& trusted = state.hosts.at(id);
    return is_reliable(trusted) && trusted.last_seen + state.options.active_window > now;
  });
  if (!is_one_active) return {};
  const auto typical = job.typical_speed(workunit.row.kind).expected(workunit.gflop);
  return workunit.waiting_since +
         std::max(state.options.trusted_wait, 2 * typical.value_or(std::chrono::milliseconds(0)));
}

ResultRow take_success(State& state, HostEntry& host, ResultEntry& result, double norm,
                       TimePoint now) {
  JobEntry& job = state.job(result.row.job);
  WorkunitEntry& workunit = state.workunit(result.row.workunit);
  const bool is_gradient = workunit.row.kind == WorkKind::kGradient;
  const double mean_norm = norm / static_cast<double>(workunit.sample_count());
  result.mean_norm = mean_norm;
  if (is_gradient &&
      (!workunit.reported.empty() || is_check_due(state, job, host, result.row, mean_norm))) {
    MH_PROBE("a result waits for a check");
    report(state, workunit, result, now);
    return result.row;
  }
  const bool is_held =
      is_gradient && job.row.validation.mode != ValidationMode::kNone && !host.row.is_trusted;
  blame_rejected(state, job, workunit, host.row.id, now);
  note_unchecked(state, host, {job.row.id, result.row.id}, now);
  if (is_held) {
    hold_back(state, job, host, workunit.gflop);
  } else {
    grant(state, job, host, workunit.gflop);
  }
  return make_canonical(state, job, workunit, result, now);
}

void take_distance(State& state, ResultId first, ResultId second,
                   const std::optional<Distance>& distance, TimePoint now) {
  const auto found = state.results.find(first);
  if (found == state.results.end()) return;
  WorkunitEntry& workunit = state.workunit(found->second.row.workunit);
  const auto open = workunit.distances.find(ordered(first, second));
  if (open == workunit.distances.end() || open->second) return;
  if (distance) {
    open->second = distance;
    return decide_reported(state, workunit, now);
  }
  MH_PROBE("reported updates cannot be read");
  for (const ResultId id : {first, second}) {
    ResultEntry& result = state.result(id);
    result.row.reason = "the server could not read the update";
    state.set_state(result, ResultState::kReturned, now);
    state.release(result.row.update_digest);
  }
  decide_reported(state, workunit, now);
}

void take_word(State& state, const HostEntry& host, TimePoint now) {
  std::vector<WorkunitId> reported;
  for (const JobId id : state.live_jobs) {
    for (const WorkunitId workunit_id : state.job(id).workunits) {
      const WorkunitEntry& workunit = state.workunit(workunit_id);
      const bool is_among = std::any_of(
          workunit.reported.begin(), workunit.reported.end(),
          [&](ResultId result) { return state.result(result).row.host == host.row.id; });
      if (is_among) reported.push_back(workunit_id);
    }
  }
  if (!reported.empty()) MH_PROBE("a host is trusted whose results wait for a check");
  for (const WorkunitId id : reported) decide_reported(state, state.workunit(id), now);
}

void drop_reported(State& state, WorkunitEntry& workunit, TimePoint now) {
  const std::vector<ResultId> all = workunit.reported;
  for (const ResultId id : all) {
    ResultEntry& result = state.result(id);
    state.set_state(result, ResultState::kObsolete, now);
    state.release(result.row.update_digest);
  }
}

void ask_for_comparisons(State& state, const WorkunitEntry& workunit,
                         std::optional<ResultId> result) {
  for (const auto& [pair, distance] : workunit.distances) {
    if (distance || (result && pair.first != *result && pair.second != *result)) continue;
    Comparison comparison;
    comparison.job = workunit.row.job;
    comparison.step = workunit.row.step;
    comparison.sample_count = workunit.sample_count();
    comparison.first = pair.first;
    comparison.second = pair.second;
    comparison.first_digest = state.result(pair.first).row.update_digest;
    comparison.second_digest = state.result(pair.second).row.update_digest;
    state.effects().comparisons.push_back(std::move(comparison));
  }
}

}  // namespace mh::scheduler
