// Whether a workunit is better done by other hosts than by the one that asks (rules 10 and 11 of
// coordinator.h), from measured speeds. Of many hosts a sample is looked at.
// Flow: assigner -> here -> State. Private to scheduler/coordinator; pure, for one call.
#pragma once

#include <vector>

#include "scheduler/state.h"

namespace mh::scheduler {

class Competition {
 public:
  // References must outlive this.
  Competition(State& state, const HostEntry& host, TimePoint now)
      : state_(state), host_(host), now_(now) {}

  // Of the host that asks; looked up once for many candidates.
  const SpeedEstimate& own_speed(const JobEntry& job, WorkKind kind) const;
  // By what was measured, more than once: the first time says little.
  bool is_known_slow(const JobEntry& job, WorkKind kind) const;
  // Rule 10: could the other hosts finish all `queue_size` workunits that wait before this host is
  // done with this one?
  bool is_better_left(JobEntry& job, const WorkunitEntry& workunit, std::size_t queue_size);
  // Rule 11: the host is slow, and one that is much faster waits for a copy, too.
  bool leaves_copies(const JobEntry& job);

 private:
  struct Competitors {
    std::vector<HostId> sample;
    // How many times as many there are.
    double scale = 1;
  };
  struct KnownSpeed {
    JobId job;
    WorkKind kind = WorkKind::kGradient;
    SpeedEstimate speed;
  };

  // Some of the hosts that ask, until `visit` says false; those that have gone are forgotten.
  template <class Visit>
  void for_each_asking(const Visit& visit);
  Competitors competitors(const JobEntry& job);
  double head_start(const JobEntry& job, const WorkunitEntry& workunit) const;
  bool may_compete(const HostEntry& other, const WorkunitEntry& workunit) const;
  std::chrono::milliseconds expected_duration(const HostEntry& host, const JobEntry& job,
                                              const WorkunitEntry& workunit) const;
  TimePoint expected_free(const HostEntry& host, std::chrono::milliseconds duration) const;
  TimePoint expected_end(const HostEntry& host, const JobEntry& job,
                         const WorkunitEntry& workunit) const;

  State& state_;
  const HostEntry& host_;
  const TimePoint now_;
  mutable KnownSpeed known_speed_;
};

}  // namespace mh::scheduler
