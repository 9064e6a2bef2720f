// One workunit, from files to files: loads what the request names (or finds it loaded), computes,
// writes the update.
//
// Keeps the last few jobs ready: checked specification, plan, modules on the device, mapped chunks,
// parameters. All are found by digest, so nothing stale can be used. Threads: one.
#pragma once

#include <list>
#include <memory>

#include "proto/base/result.h"
#include "trainer/engine/device.h"
#include "trainer/engine/serve_messages.h"

namespace mh::engine {

/// Jobs kept ready; the one used longest ago makes room.
inline constexpr std::size_t kReadyJobCountMax = 4;

class WorkunitComputer {
 public:
  explicit WorkunitComputer(const Device& device);
  ~WorkunitComputer();

  /// Computes one workunit. For a gradient the update stands at request.update_path afterwards; it
  /// is removed again if it could not be written whole. Errors: kInvalidArgument and kNotFound for
  /// files that are missing, damaged or do not fit together; kCanceled when `progress` says so;
  /// kResourceExhausted for a full disk; kInternal for a fault of the device.
  Result<Computed> compute(const ComputeRequest& request, const Progress& progress);

 private:
  struct ReadyJob;
  Result<ReadyJob*> ready_job(const ComputeRequest& request);
  Result<Computed> compute_gradient(const ComputeRequest& request, ReadyJob& job,
                                    const Progress& progress);
  Result<Computed> evaluate(const ComputeRequest& request, ReadyJob& job, const Progress& progress);

  const Device device_;
  /// Most recently used first.
  std::list<std::unique_ptr<ReadyJob>> jobs_;
};

}  // namespace mh::engine
