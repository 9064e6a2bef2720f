// See spread.h.
#include "scheduler/spread.h"

#include <algorithm>

namespace mh::scheduler {
namespace {

// It may still become the canonical result of its workunit.
bool may_come(ResultState state) {
  return state == ResultState::kLeased || state == ResultState::kExpired ||
         state == ResultState::kReported;
}

}  // namespace

Spread::Spread(const State& state, const JobEntry& job)
    : hosts_min_(static_cast<std::size_t>(job.row.hosts_min)) {
  for (const WorkunitId id : job.workunits) {
    const WorkunitEntry& workunit = state.workunits.at(id);
    if (workunit.row.state == WorkunitState::kDone) {
      done_.insert(state.results.at(workunit.row.canonical).row.host);
      continue;
    }
    Open open;
    open.id = id;
    open.is_waiting = workunit.row.state == WorkunitState::kWaiting;
    for (const ResultId result_id : workunit.results) {
      const ResultRow& result = state.results.at(result_id).row;
      if (may_come(result.state)) open.holders.push_back(result.host);
    }
    std::sort(open.holders.begin(), open.holders.end());
    open.holders.erase(std::unique(open.holders.begin(), open.holders.end()), open.holders.end());
    with_part_.insert(open.holders.begin(), open.holders.end());
    open_.push_back(std::move(open));
  }
  with_part_.insert(done_.begin(), done_.end());
  least_ = least_hosts(std::nullopt);
}

std::size_t Spread::least_hosts(const std::optional<Taking>& taking) const {
  std::set<HostId> sure = done_;
  std::size_t kept = 0;
  std::vector<std::vector<HostId>> contested;
  for (const Open& open : open_) {
    std::vector<HostId> holders = open.holders;
    const bool is_taken = taking && taking->first == open.id;
    if (is_taken && std::find(holders.begin(), holders.end(), taking->second) == holders.end()) {
      holders.push_back(taking->second);
    }
    if (holders.empty()) {
      ++kept;
    } else if (holders.size() == 1 && (is_taken || !open.is_waiting)) {
      sure.insert(holders.front());
    } else {
      contested.push_back(std::move(holders));
    }
  }
  // Each contested workunit brings one host more if none of its holders is looked at elsewhere;
  // those with few holders first, for they stand in the way of fewer others.
  std::stable_sort(contested.begin(), contested.end(),
                   [](const auto& a, const auto& b) { return a.size() < b.size(); });
  std::size_t count = sure.size() + kept;
  for (const std::vector<HostId>& holders : contested) {
    const bool may_be_known = std::any_of(holders.begin(), holders.end(),
                                          [&](HostId host) { return sure.contains(host); });
    if (may_be_known) continue;
    ++count;
    sure.insert(holders.begin(), holders.end());
  }
  return count;
}

bool Spread::may_take(WorkunitId workunit, HostId host) const {
  if (!with_part_.contains(host)) return true;
  const std::size_t after = least_hosts(Taking(workunit, host));
  return after >= hosts_min_ || after >= least_;
}

bool Spread::may_decide(WorkunitId workunit, HostId host) const {
  Spread after(*this);
  after.done_.insert(host);
  std::erase_if(after.open_, [&](const Open& open) { return open.id == workunit; });
  return after.least_hosts(std::nullopt) >= hosts_min_;
}

std::string Spread::needs_more() const {
  return "the step's aggregation needs results of " + std::to_string(hosts_min_) + " hosts, " +
         std::to_string(with_part_.size()) + (with_part_.size() == 1 ? " takes" : " take") +
         " part";
}

std::string why_not_spread(const State& state, const JobEntry& job, HostId host) {
  if (job.row.hosts_min <= 1) return {};
  const Spread spread(state, job);
  if (spread.may_take(*job.waiting_gradients.begin(), host)) return {};
  return spread.needs_more();
}

}  // namespace mh::scheduler
