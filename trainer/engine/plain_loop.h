// The yardstick of `manyhands-trainer bench`: the training loop that one would write first with
// LibTorch's modules and optimizer, autograd, batches of 512, default memory format, default
// malloc. Torch-free header. Threads: one.
#pragma once

#include "proto/base/result.h"
#include "trainer/engine/device.h"
#include "trainer/model/model_plan.h"

namespace mh::engine {

/// Samples per second of the plain loop over random data held in memory, measured for about
/// `seconds` after a warm-up. Errors: kInternal with what torch says.
Result<double> plain_loop_speed(const model::ModelPlan& plan, const Device& device, double seconds);

}  // namespace mh::engine
