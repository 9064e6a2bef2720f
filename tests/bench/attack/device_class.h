// Honest hosts differ: the same gradient on another kind of processor or card is another one in the
// last bits, or more where rounding turns over a ReLU. A class says by how much. Pure; no threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tests/bench/attack/learner.h"

namespace mh::attack {

struct DeviceClass {
  // As the host describes itself.
  std::string_view device;
  std::string_view model;
  // |difference to the first class| / |gradient|, in every tensor.
  double relative_difference = 0;
  // A second run of the same workunit differs, too.
  bool is_repeatable = true;
};

// The first one computes what the learner says. Differences are those measured on convolutional
// networks with ReLU: other vector units, no vector units, other kernels.
std::span<const DeviceClass> device_classes();

// What a host of this class makes of the gradient; `work` names the workunit, `result` the result.
Gradient as_computed_on(const DeviceClass& device, const model::ModelPlan& plan, Gradient gradient,
                        std::uint64_t work, std::uint64_t result);

}  // namespace mh::attack
