// n vectors in, one out: a recipe carried out on updates that lie in memory maps.
//
// Flow: files -> MappedFile -> Input -> aggregate() -> the aggregated vector. The `manyhands
// aggregate` verb calls it with safetensors, step_gradient.h with tensor packs.
// 1. The vectors are put in an order of their own, by value (the first differing element decides),
//    so that the order and the names of the inputs change no bit; ties are broken by that order.
// 2. One pass for the inner products, if distances or norms are needed; a second one relative to a
//    central vector when close vectors would cancel.
// 3. Pre-aggregations become a mixing matrix; distance-based rules become weights.
// 4. One pass for the result.
// Memory: O(n²) and a tile a thread. Threads: starts up to `threads` - 1, which end before it
// returns; the number changes no bit.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "trainer/model/model_plan.h"
#include "trainer/robust/passes.h"
#include "trainer/robust/recipe.h"

namespace mh::robust {

struct Input {
  /// For messages: the file or the id.
  std::string name;
  /// float32, little-endian, tensors one after another as in `layout`; not necessarily aligned.
  std::span<const std::byte> values;
  /// Instead of `values`, for what came in several parts: sums over samples, which are added in
  /// this order, in double, and divided by `sample_count`; the vector is never written down as a
  /// whole.
  std::vector<std::span<const float>> sums = {};
  std::uint64_t sample_count = 0;
};

struct Outcome {
  /// What each input, in the order given, weighs in the result; empty after coordinate-wise rules.
  std::vector<double> weights;
  /// Times the inputs were read.
  int passes = 0;
};

/// `layout` names the tensors in messages and may be empty. Errors: kInvalidArgument for a recipe
/// that is not defined for as many inputs, for inputs of another size than `out`, and for NaN and
/// infinite values, naming input, tensor and index.
Result<Outcome> aggregate(const Recipe& recipe, std::span<const Input> inputs,
                          std::span<const model::ParameterSpec> layout, std::span<float> out,
                          const PassOptions& options);

}  // namespace mh::robust
