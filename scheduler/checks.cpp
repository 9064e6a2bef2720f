// See checks.h.
#include "scheduler/checks.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/probe.h"
#include "proto/base/random.h"
#include "scheduler/credit.h"
#include "scheduler/job_steps.h"
#include "scheduler/standing.h"

namespace mh::scheduler {
namespace {

// Norms of valid gradients that are remembered, and needed before one can stand out.
constexpr std::size_t kNormsKept = 64;
constexpr std::size_t kNormsMin = 8;
constexpr std::uint64_t kDrawPurpose = 0x636865636B;

std::pair<ResultId, ResultId> ordered(ResultId a, ResultId b) { return std::minmax(a, b); }

// ---- Which results are checked ----

// Rule 22. Written so that NaN stands out.
bool stands_out(const State& state, const JobEntry& job, double mean_norm) {
  if (job.norms.size() < kNormsMin) return false;
  std::vector<double> sorted(job.norms.begin(), job.norms.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double factor = state.options.norm_factor;
  return !(mean_norm <= *middle * factor && mean_norm * factor >= *middle);
}

void remember_norm(JobEntry& job, double mean_norm) {
  job.norms.push_back(mean_norm);
  if (job.norms.size() > kNormsKept) job.norms.pop_front();
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

// ---- What a valid result brings ----

void count_valid(State& state, JobEntry& job, HostEntry& host, const WorkunitEntry& workunit,
                 const ResultEntry& result, TimePoint now) {
  ++host.row.valid_count;
  host.row.lease_quota = std::min(state.options.quota_max, host.row.lease_quota + 1);
  host.failures_in_row = 0;
  host.paused_until = {};
  state.changed(host);
  ContributionEntry& contribution = state.contribution(job, host.row.id);
  ++contribution.row.valid_count;
  contribution.row.upload_bytes += result.row.update_bytes;
  if (result.row.is_reissue) ++contribution.row.reissued_count;
  if (workunit.row.kind == WorkKind::kEvaluation) {
    ++contribution.row.evaluation_count;
  } else if (result.row.state == ResultState::kAgreed) {
    ++contribution.row.agreed_count;
  } else {
    contribution.row.sample_count += workunit.sample_count();
    job.rate.add(now, workunit.sample_count());
  }
  contribution.last_active = std::max(contribution.last_active, result.row.ended);
  state.changed(contribution);
}

std::string result_text(const ResultRow& row) {
  return "result " + to_string(row.id) + " of job " + to_string(row.job);
}

// Others were valid where these were refused by a screen: then it was not the job.
void blame_rejected(State& state, const JobEntry& job, const WorkunitEntry& workunit,
                    HostId right_host, TimePoint now) {
  if (job.row.validation.mode == ValidationMode::kNone) return;
  for (const ResultId id : workunit.results) {
    const ResultRow& row = state.result(id).row;
    if (row.state != ResultState::kRejected || row.host == right_host) continue;
    HostEntry& host = state.host(row.host);
    const std::string what =
        result_text(row) + " was refused (" + row.reason + ") and another host's was right";
    forfeit_held(state, host, what, now);
    note_bad(state, host, {row.job, id}, what, now);
  }
}

// The workunit's canonical result; the caller settles credit and standing. Returns its row.
ResultRow make_canonical(State& state, JobEntry& job, WorkunitEntry& workunit, ResultEntry& result,
                         TimePoint now) {
  const bool was_reported = result.row.state == ResultState::kReported;
  result.row.credit = workunit.gflop;
  if (workunit.row.kind == WorkKind::kGradient && result.mean_norm > 0) {
    remember_norm(job, result.mean_norm);
  }
  state.set_state(result, ResultState::kValid, now);
  count_valid(state, job, state.host(result.row.host), workunit, result, now);
  const ResultRow row = result.row;
  // May end an evaluation and with it forget the workunit: nothing of it is used after this.
  workunit_done(state, job, workunit, result, now);
  if (was_reported) state.release(row.update_digest);
  return row;
}

// ---- Agreement ----

class Quorum {
 public:
  Quorum(State& state, WorkunitEntry& workunit, TimePoint now)
      : state_(state), job_(state.job(workunit.row.job)), workunit_(workunit), now_(now) {}

  // Finds the canonical result, or what is still lacking.
  void decide() {
    if (workunit_.distances.size() < pair_count() || has_open_distance()) {
      return state_.settle_idle(workunit_, now_);
    }
    std::vector<ResultId> order = workunit_.reported;
    std::sort(order.begin(), order.end());
    // The word of a host that an admin trusts comes first.
    std::stable_partition(order.begin(), order.end(), [&](ResultId id) { return is_trusted(id); });
    for (const ResultId id : order) {
      if (is_enough(id)) return take(id);
    }
    if (workunit_.reported.size() >= state_.options.reported_max) return give_up();
    state_.settle_idle(workunit_, now_);
  }

 private:
  const HostEntry& host_of(ResultId id) const {
    return state_.hosts.at(state_.results.at(id).row.host);
  }
  bool is_trusted(ResultId id) const { return host_of(id).row.is_trusted; }

  std::size_t pair_count() const {
    return workunit_.reported.size() * (workunit_.reported.size() - 1) / 2;
  }
  bool has_open_distance() const {
    return std::any_of(workunit_.distances.begin(), workunit_.distances.end(),
                       [](const auto& entry) { return !entry.second.has_value(); });
  }

  const Agreement* learned(const std::pair<std::string, std::string>& classes) const {
    const auto found = job_.agreements.find(classes);
    return found == job_.agreements.end() ? nullptr : &found->second;
  }
  std::pair<std::string, std::string> classes_of(ResultId a, ResultId b) const {
    return std::minmax(device_class(host_of(a).row.description),
                       device_class(host_of(b).row.description));
  }

  bool agree(ResultId a, ResultId b) const {
    const auto classes = classes_of(a, b);
    const Tolerance tolerance =
        tolerance_of(job_.row.validation, classes.first, classes.second, learned(classes));
    return results_agree(state_.results.at(a).row, state_.results.at(b).row,
                         workunit_.sample_count(), *workunit_.distances.at(ordered(a, b)),
                         tolerance);
  }

  // Those that confirm `id`, one of each party.
  std::vector<ResultId> confirming(ResultId id) const {
    std::vector<ResultId> found{id};
    for (const ResultId other : workunit_.reported) {
      if (other == id || host_of(other).row.standing >= Standing::kLimited) continue;
      const bool is_new_party = std::none_of(found.begin(), found.end(), [&](ResultId one) {
        return is_same_party(host_of(one).row.origin, host_of(other).row.origin);
      });
      if ((is_new_party || is_trusted(other)) && agree(id, other)) found.push_back(other);
    }
    return found;
  }

  bool is_enough(ResultId id) const {
    if (is_trusted(id)) return true;
    const std::vector<ResultId> group = confirming(id);
    if (group.size() < job_.row.validation.quorum) return false;
    return !are_reliable_hosts_active(state_, now_) ||
           std::any_of(group.begin(), group.end(),
                       [&](ResultId one) { return is_reliable(host_of(one)); });
  }

  // `id` is canonical: who agrees earns credit, who differs pays.
  void take(ResultId id) {
    blame_rejected(state_, job_, workunit_, host_of(id).row.id, now_);
    std::vector<ResultId> agreeing;
    std::vector<ResultId> differing;
    for (const ResultId other : workunit_.reported) {
      if (other == id) continue;
      (agree(id, other) ? agreeing : differing).push_back(other);
    }
    for (const ResultId other : agreeing) learn(id, other);
    for (const ResultId other : differing) refuse(other, agreeing.size() + 1);
    for (const ResultId other : agreeing) accept(other);
    ResultEntry& canonical = state_.result(id);
    HostEntry& host = state_.host(canonical.row.host);
    pay(host, agreeing.empty() && differing.empty(), canonical.row);
    make_canonical(state_, job_, workunit_, canonical, now_);
  }

  // Rule 21: only pairs of hosts that are known for good results show what honest ones do.
  void learn(ResultId a, ResultId b) {
    if (!is_reliable(host_of(a)) || !is_reliable(host_of(b))) return;
    const auto classes = classes_of(a, b);
    Agreement& agreement = job_.agreements[classes];
    if (!agreement.row().job.is_valid()) {
      AgreementRow row;
      row.job = job_.row.id;
      row.first_class = classes.first;
      row.second_class = classes.second;
      agreement = Agreement(std::move(row));
    }
    agreement.add(*workunit_.distances.at(ordered(a, b)));
    state_.changed(agreement.row());
  }

  void pay(HostEntry& host, bool is_alone, const ResultRow& row) {
    const Evidence evidence{row.job, row.id};
    if (!host.row.is_trusted && !is_alone) {
      note_agreed(state_, host, evidence, now_);
    } else {
      note_unchecked(state_, host, evidence, now_);
    }
    grant_held(state_, host, now_);
    grant(state_, job_, host, workunit_.gflop);
  }

  void accept(ResultId id) {
    ResultEntry& result = state_.result(id);
    HostEntry& host = state_.host(result.row.host);
    result.row.credit = workunit_.gflop;
    state_.set_state(result, ResultState::kAgreed, now_);
    state_.release(result.row.update_digest);
    job_.row.checked_gflop += workunit_.gflop;
    state_.changed(job_);
    pay(host, false, result.row);
    count_valid(state_, job_, host, workunit_, result, now_);
  }

  void refuse(ResultId id, std::size_t others) {
    MH_PROBE("a result differs from the canonical one");
    ResultEntry& result = state_.result(id);
    HostEntry& host = state_.host(result.row.host);
    const std::string what = "it differs from the result" + std::string(others == 1 ? "" : "s") +
                             " of " + std::to_string(others) + " other host" +
                             (others == 1 ? " that is trusted" : "s that agree");
    state_.set_state(result, ResultState::kRejected, now_);
    state_.release(result.row.update_digest);
    job_.row.differed_gflop += workunit_.gflop;
    state_.changed(job_);
    ContributionEntry& contribution = state_.contribution(job_, host.row.id);
    ++contribution.row.rejected_count;
    ++contribution.row.differed_count;
    state_.changed(contribution);
    ++host.row.rejected_count;
    host.row.lease_quota = std::max<std::uint32_t>(1, host.row.lease_quota / 2);
    ++host.failures_in_row;
    host.paused_until = now_ + failure_pause(state_.options, host.failures_in_row);
    forfeit_held(state_, host, result_text(result.row) + ": " + what, now_);
    note_bad(state_, host, {result.row.job, id}, result_text(result.row) + ": " + what, now_);
    result.row.reason = what + " (" + recent_text(state_, host) +
                        "; faulty memory or overclocking are the usual cause)";
    state_.log(job_, now_,
               "result " + to_string(id) + " of shard " + std::to_string(workunit_.row.shard) +
                   " from " + host_text(host) + " is rejected: " + what);
  }

  // So many that no two agree: nobody can be blamed, others begin anew.
  void give_up() {
    MH_PROBE("reported results do not come to agree");
    state_.log(job_, now_,
               "shard " + std::to_string(workunit_.row.shard) + ": " +
                   std::to_string(workunit_.reported.size()) +
                   " results were reported and none is confirmed; it is computed anew");
    const std::vector<ResultId> all = workunit_.reported;
    for (const ResultId id : all) {
      ResultEntry& result = state_.result(id);
      result.row.reason = "no other host's result agreed with it, nor with another's";
      state_.set_state(result, ResultState::kReturned, now_);
      state_.release(result.row.update_digest);
    }
    state_.settle_idle(workunit_, now_);
  }

  State& state_;
  JobEntry& job_;
  WorkunitEntry& workunit_;
  TimePoint now_;
};

// Joins those that wait, and asks for the distances that equal digests do not give.
void report(State& state, WorkunitEntry& workunit, ResultEntry& result, TimePoint now) {
  const ResultId id = result.row.id;
  for (const ResultId other : workunit.reported) {
    std::optional<Distance>& distance = workunit.distances[ordered(id, other)];
    if (state.result(other).row.update_digest == result.row.update_digest) distance = Distance{};
  }
  state.blobs.add(result.row.update_digest);
  state.effects().updates_reported.push_back(result.row.update_digest);
  state.set_state(result, ResultState::kReported, now);
  ask_for_comparisons(state, workunit, id);
  Quorum(state, workunit, now).decide();
}

}  // namespace

bool is_same_party(const HostOrigin& first, const HostOrigin& second) {
  if (first.account != 0 && first.account == second.account) return true;
  return !first.address_block.empty() && first.address_block == second.address_block;
}

bool may_check(const State& state, const JobEntry& job, const WorkunitEntry& workunit,
               const HostEntry& host, TimePoint now) {
  if (host.row.standing >= Standing::kLimited) return false;
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
    return Quorum(state, workunit, now).decide();
  }
  MH_PROBE("reported updates cannot be read");
  for (const ResultId id : {first, second}) {
    ResultEntry& result = state.result(id);
    result.row.reason = "the server could not read the update";
    state.set_state(result, ResultState::kReturned, now);
    state.release(result.row.update_digest);
  }
  Quorum(state, workunit, now).decide();
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
