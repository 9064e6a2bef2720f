// The inside of Coordinator, shared by its .cpp files only.
#pragma once

#include "scheduler/coordinator.h"
#include "scheduler/state.h"

namespace mh::scheduler {

class Coordinator::Impl {
 public:
  explicit Impl(const CoordinatorOptions& options) : state(options) {}

  Result<void> update(JobEntry& job, JobAction action, std::uint32_t priority, TimePoint now);
  JobView view(const JobEntry& job, TimePoint now) const;
  std::string waiting_reason(const JobEntry& job, TimePoint now) const;

  State state;
};

}  // namespace mh::scheduler
