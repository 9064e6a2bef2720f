// Whether a step's work is spread over enough hosts (rule 27 of coordinator.h): a robust rule needs
// so many different ones, and a workunit given to a host that has part already adds none.
//
// What counts is the least number of different hosts that can come of the step, whoever of those
// who hold a workunit is first with it. A host holds what it has leased, and what it had leased and
// may still report. It is a lower bound: workunits with several holders count only if nobody who
// holds them counts elsewhere. To give a workunit to a host that has no part never lowers it.
// Cost: linear in the workunits of the step. Private to scheduler/coordinator; pure.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

class Spread {
 public:
  // As things are; to be made again when they change.
  Spread(const State& state, const JobEntry& job);

  // Of a workunit of the step that is not done.
  bool may_take(WorkunitId workunit, HostId host) const;
  // Enough different hosts are still sure if this host's result becomes the canonical one of it.
  bool may_decide(WorkunitId workunit, HostId host) const;
  // Different hosts that hold or did a workunit.
  std::size_t hosts_with_part() const { return with_part_.size(); }
  // "the step's aggregation needs results of 5 hosts, 3 take part".
  std::string needs_more() const;

 private:
  struct Open {
    WorkunitId id;
    bool is_waiting = false;
    std::vector<HostId> holders;
  };
  using Taking = std::pair<WorkunitId, HostId>;

  std::size_t least_hosts(const std::optional<Taking>& taking) const;

  const std::size_t hosts_min_;
  std::set<HostId> done_;
  std::vector<Open> open_;
  std::set<HostId> with_part_;
  std::size_t least_ = 0;
};

// Why the host gets nothing of what waits, if it is for this; else empty.
std::string why_not_spread(const State& state, const JobEntry& job, HostId host);

}  // namespace mh::scheduler
