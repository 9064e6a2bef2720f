// Rules whose result is a weighted sum of the vectors, with weights that follow from distances
// alone. Pure. Ties are broken by index (see pre.h).
#pragma once

#include <vector>

#include "trainer/robust/geometry.h"
#include "trainer/robust/recipe.h"

namespace mh::robust {

/// The result is (sum of weights[i] × vector i) / divisor.
struct Combination {
  std::vector<double> weights;
  double divisor = 1;
};

/// Sums of squared distances to the `neighbours` nearest others.
std::vector<double> krum_scores(const Geometry& geometry, std::size_t neighbours);

/// Requires: a rule that is neither coordinate-wise nor the mean; check_recipe(recipe,
/// geometry.count()).
Combination combine(const Recipe& recipe, const Geometry& geometry);
/// All weights 1.
Combination plain_mean(std::size_t count);

/// The n-f vectors with the smallest diameter, ascending; of several such sets the one that comes
/// first. Requires: f < geometry.count().
std::vector<std::size_t> smallest_diameter(const Geometry& geometry, std::size_t f);
/// Covariance-bound-agnostic filter, with converged eigenvectors. See docs/aggregation.md.
Combination covariance_filter(const Geometry& geometry, std::size_t f);

}  // namespace mh::robust
