// See quorum.h.
#include "scheduler/quorum.h"

#include <algorithm>

#include "proto/base/probe.h"
#include "scheduler/credit.h"
#include "scheduler/outcomes.h"
#include "scheduler/spread.h"
#include "scheduler/standing.h"

namespace mh::scheduler {
namespace {

// How many typical workunits ago one was at work, if that is longer than the active window.
constexpr int kWorkunitsActive = 4;

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
      if (is_enough(id)) return take(first_agreeing(id));
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
      const HostEntry& host = host_of(other);
      const bool counts = host.row.standing < Standing::kLimited || is_reliable(host);
      if (other == id || !counts) continue;
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

  // The lowest id of those that agree with it, itself included.
  ResultId first_agreeing(ResultId id) const {
    ResultId first = id;
    for (const ResultId other : workunit_.reported) {
      if (other < first && agree(id, other)) first = other;
    }
    return first;
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
    is_vouched_for_ = is_trusted(id) ||
                      std::any_of(agreeing.begin(), agreeing.end(),
                                  [&](ResultId one) { return is_trusted(one); }) ||
                      !is_trusted_host_at_work();
    if (breaks_spread(id)) return only_refute(id, agreeing, differing);
    for (const ResultId other : differing) refuse(other, agreeing.size() + 1);
    for (const ResultId other : agreeing) accept(other);
    ResultEntry& canonical = state_.result(id);
    HostEntry& host = state_.host(canonical.row.host);
    pay(host, agreeing.empty() && differing.empty(), canonical.row);
    make_canonical(state_, job_, workunit_, canonical, now_);
  }

  // Rule 27: the others were wrong, and the step needs another host than this one.
  bool breaks_spread(ResultId id) const {
    if (job_.row.hosts_min <= 1) return false;
    return !Spread(state_, job_).may_decide(workunit_.row.id, host_of(id).row.id);
  }

  void only_refute(ResultId id, const std::vector<ResultId>& agreeing,
                   const std::vector<ResultId>& differing) {
    MH_PROBE("a result shows that others are wrong, and cannot count itself");
    for (const ResultId other : differing) refuse(other, agreeing.size() + 1);
    std::vector<ResultId> right = agreeing;
    right.push_back(id);
    for (const ResultId one : right) {
      ResultEntry& result = state_.result(one);
      result.row.reason = "right, but the step's aggregation needs another host's";
      state_.set_state(result, ResultState::kReturned, now_);
      state_.release(result.row.update_digest);
    }
    state_.settle_idle(workunit_, now_);
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
    if (is_vouched_for_) {
      grant_held(state_, host, now_);
      grant(state_, job_, host, workunit_.gflop);
    } else {
      MH_PROBE("credit of a result that strangers confirmed is held back");
      hold_back(state_, job_, host, workunit_.gflop);
    }
  }

  // Rule 24: one that computes for this job, and could have checked what was reported.
  bool is_trusted_host_at_work() const {
    if (job_.row.validation.is_homogeneous) return false;
    const auto typical = job_.typical_speed(workunit_.row.kind).expected(workunit_.gflop);
    const auto window = std::max(state_.options.active_window,
                                 kWorkunitsActive * typical.value_or(std::chrono::milliseconds(0)));
    return is_any_of_the_first(state_.trusted, [&](HostId id) {
      const auto found = job_.contributions.find(id);
      return found != job_.contributions.end() && is_reliable(state_.hosts.at(id)) &&
             found->second.last_active + window > now_;
    });
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
    blame(state_, host, now_);
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
  // Of those that agree an admin trusts one, or could not expect it.
  bool is_vouched_for_ = false;
};

}  // namespace

void decide_reported(State& state, WorkunitEntry& workunit, TimePoint now) {
  Quorum(state, workunit, now).decide();
}

void add_distances(State& state, WorkunitEntry& workunit, const ResultRow& joining) {
  for (const ResultId other : workunit.reported) {
    std::optional<Distance>& distance = workunit.distances[ordered(joining.id, other)];
    if (state.result(other).row.update_digest == joining.update_digest) distance = Distance{};
  }
}

bool is_same_party(const HostOrigin& first, const HostOrigin& second) {
  if (first.account != 0 && first.account == second.account) return true;
  return !first.address_block.empty() && first.address_block == second.address_block;
}

std::pair<ResultId, ResultId> ordered(ResultId a, ResultId b) { return std::minmax(a, b); }

}  // namespace mh::scheduler
