// Pre-aggregations as mixing matrices: which new vectors are made of which old ones. Pure.
// Ties are broken by index, and the vectors come in an order that their values decide
// (aggregate.h), so the order of the inputs does not matter.
#pragma once

#include <span>
#include <vector>

#include "trainer/robust/geometry.h"
#include "trainer/robust/recipe.h"

namespace mh::robust {

/// y_i = mean of the n-f nearest neighbours of x_i. Requires: f < geometry.count().
Mix nearest_neighbour_mix(const Geometry& geometry, std::size_t f);
/// `order`: the vectors as they are put into buckets.
Mix bucketing_mix(std::span<const std::size_t> order, std::size_t bucket_size);
/// A permutation of [0, count) that only the seed decides (Fisher-Yates with Philox).
std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed);
Mix clipping_mix(const Geometry& geometry, double norm_max);
/// Requires: f < geometry.count().
Mix adaptive_clipping_mix(const Geometry& geometry, std::size_t f);

}  // namespace mh::robust
