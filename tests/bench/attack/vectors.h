// The attacks of the literature as functions of vectors: what colluding hosts send when they know
// what the honest ones will. Flow: adversary.cpp calls them with the gradients of a step.
// Conventions are ByzFL's (standard deviation with divisor m - 1); sums in double. Pure; no
// threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace mh::attack {

using Vector = std::vector<float>;
// Vectors of one size; at least one.
using Vectors = std::span<const Vector>;

Vector mean_of(Vectors honest);
// By coordinate; all zero for a single vector.
Vector deviation_of(Vectors honest);
Vector scaled(std::span<const float> vector, double factor);

// "Inner product manipulation" (Xie, Koyejo, Gupta, UAI 2020): -tau × mean. tau 1 is a sign flip.
Vector inner_product_attack(Vectors honest, double tau);
// "A little is enough" (Baruch et al., NeurIPS 2019): mean + tau × standard deviation.
Vector little_is_enough(Vectors honest, double tau);
// The largest tau with which enough honest vectors are farther from the mean than the attackers:
// s = floor(n / 2 + 1) - f, z = Φ⁻¹((n - f - s) / (n - f)). Requires: 2f < n.
double little_is_enough_z_max(std::size_t n, std::size_t f);
// Φ⁻¹. Requires: 0 < p < 1.
double normal_quantile(double p);

// Normal values with mean 0; the same for the same (key, stream).
Vector gaussian(std::size_t size, double sigma, std::uint64_t key, std::uint64_t stream);
// The vector with `count` of its bits turned over, as bad memory does. Requires: not empty.
Vector with_flipped_bits(Vector vector, std::size_t count, std::uint64_t key, std::uint64_t stream);

struct Search {
  int evaluations = 20;
  double start = 0;
  double delta = 10;
  double ratio = 0.8;
};
// The x that does most damage, as ByzFL's optimal attacks look for it: steps away from the start
// that double while they improve; after the first that does not, steps that shrink by `ratio`.
double line_search(const std::function<double(double)>& damage, const Search& search = {});

}  // namespace mh::attack
