// How far two updates are apart: what decides whether two hosts computed the same. Pure; no
// threads.
#pragma once

#include <span>

#include "proto/base/result.h"
#include "trainer/model/model_plan.h"

namespace mh::update {

struct UpdateDistance {
  /// |a - b| / max(|a|, |b|), the largest over the whole and each tensor. A tensor whose gradient
  /// is less than a thousandth of the whole is measured against that thousandth: its rounding
  /// errors are not its own.
  double relative_l2 = 0;
  /// 1 - a·b / (|a| |b|) of the whole; 1 if exactly one is zero.
  double one_minus_cosine = 0;
};

/// Sums in double in the order of elements: the same bits everywhere. Errors: kInvalidArgument
/// unless both have as many values as the layout.
Result<UpdateDistance> measure_distance(std::span<const float> a, std::span<const float> b,
                                        std::span<const model::ParameterSpec> layout);

}  // namespace mh::update
