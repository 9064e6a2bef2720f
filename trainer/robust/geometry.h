// What the distance-based rules know of n vectors: their inner products, in double, relative to a
// reference vector. Linear combinations of the vectors are again such a geometry, so that
// pre-aggregations cost n³ and not a pass over the data. Pure.
//
// A vector is u = c·r + δ, with the reference r (or no reference: c = 0) and the rest δ. Distances
// between vectors with equal c do not see r at all, so vectors near r do not cancel.
#pragma once

#include <cstddef>
#include <vector>

#include "trainer/robust/kernels.h"

namespace mh::robust {

/// A matrix of few entries: row i says what new vector i is made of, indices ascending.
using Mix = std::vector<std::vector<Term>>;

Mix identity_mix(std::size_t count);
/// `second` after `first`.
Mix compose(const Mix& second, const Mix& first);

class Geometry {
 public:
  /// δ = the vectors themselves. `products`: count × count, symmetric.
  static Geometry without_reference(std::size_t count, std::vector<double> products);
  /// δ_i = x_i - x_reference. `products`: those of the δ, but row and column `reference` belong to
  /// x_reference itself.
  static Geometry with_reference(std::size_t count, std::vector<double> products,
                                 std::size_t reference);

  std::size_t count() const { return count_; }
  double inner(std::size_t i, std::size_t j) const;
  /// 0 rather than a negative number, and rather than an error of rounding between equal vectors.
  double squared_distance(std::size_t i, std::size_t j) const;
  double norm(std::size_t i) const;
  /// Inner products of the vectors less the combination of them with these weights.
  /// count × count, symmetric.
  std::vector<double> centred(const std::vector<double>& weights) const;
  /// Distances of the vectors to the combination of them with these weights.
  std::vector<double> distances_to(const std::vector<double>& weights) const;
  /// The geometry of the combinations that `mix` names.
  Geometry mixed(const Mix& mix) const;

  /// True if a distance has lost so many digits that the products should be taken relative to
  /// `good_reference()`.
  bool is_cancelling() const;
  /// The vector whose median distance to the others is smallest: an outlier cannot be it while
  /// fewer than half are outliers.
  std::size_t good_reference() const;

 private:
  double at(std::size_t i, std::size_t j) const { return products_[i * count_ + j]; }
  /// δ_i·δ of the combination, for each i.
  std::vector<double> products_with(const std::vector<double>& weights) const;

  std::size_t count_ = 0;
  std::vector<double> products_;      // δ_i·δ_j
  std::vector<double> on_reference_;  // δ_i·r
  std::vector<double> share_;         // c_i
  double reference_squared_ = 0;      // r·r
};

}  // namespace mh::robust
