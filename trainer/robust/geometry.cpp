#include "trainer/robust/geometry.h"

#include <algorithm>
#include <cmath>

#include "proto/base/check.h"

namespace mh::robust {
namespace {

/// Squared distances under this share of the squared norms have lost 20 of 53 bits.
constexpr double kCancelling = 0x1p-20;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Mix identity_mix(std::size_t count) {
  Mix mix(count);
  for (std::size_t i = 0; i < count; ++i) mix[i].push_back({.index = i, .weight = 1});
  return mix;
}

Mix compose(const Mix& second, const Mix& first) {
  std::size_t width = 0;
  for (const auto& row : first) {
    for (const Term& term : row) width = std::max(width, term.index + 1);
  }
  Mix result;
  for (const auto& row : second) {
    std::vector<double> dense(width, 0.0);
    for (const Term& outer : row) {
      for (const Term& inner : first[outer.index])
        dense[inner.index] += outer.weight * inner.weight;
    }
    std::vector<Term>& terms = result.emplace_back();
    for (std::size_t i = 0; i < width; ++i) {
      if (dense[i] != 0) terms.push_back({.index = i, .weight = dense[i]});
    }
  }
  return result;
}

Geometry Geometry::without_reference(std::size_t count, std::vector<double> products) {
  MH_CHECK(products.size() == count * count);
  Geometry geometry;
  geometry.count_ = count;
  geometry.products_ = std::move(products);
  geometry.on_reference_.assign(count, 0.0);
  geometry.share_.assign(count, 0.0);
  return geometry;
}

Geometry Geometry::with_reference(std::size_t count, std::vector<double> products,
                                  std::size_t reference) {
  Geometry geometry = without_reference(count, std::move(products));
  geometry.share_.assign(count, 1.0);
  geometry.reference_squared_ = geometry.at(reference, reference);
  for (std::size_t i = 0; i < count; ++i) {
    if (i != reference) geometry.on_reference_[i] = geometry.at(i, reference);
    geometry.products_[i * count + reference] = 0;
    geometry.products_[reference * count + i] = 0;
  }
  return geometry;
}

double Geometry::inner(std::size_t i, std::size_t j) const {
  return at(i, j) + share_[i] * on_reference_[j] + share_[j] * on_reference_[i] +
         share_[i] * share_[j] * reference_squared_;
}

double Geometry::squared_distance(std::size_t i, std::size_t j) const {
  if (i == j) return 0;
  const double share = share_[i] - share_[j];
  const double squared = at(i, i) + at(j, j) - 2 * at(i, j) +
                         2 * share * (on_reference_[i] - on_reference_[j]) +
                         share * share * reference_squared_;
  return std::max(squared, 0.0);
}

double Geometry::norm(std::size_t i) const { return std::sqrt(std::max(inner(i, i), 0.0)); }

std::vector<double> Geometry::products_with(const std::vector<double>& weights) const {
  std::vector<double> result(count_, 0.0);
  for (std::size_t i = 0; i < count_; ++i) {
    for (std::size_t j = 0; j < count_; ++j) result[i] += at(i, j) * weights[j];
  }
  return result;
}

std::vector<double> Geometry::centred(const std::vector<double>& weights) const {
  const std::vector<double> with = products_with(weights);
  const double itself = dot(weights, with);
  const double centre_on_reference = dot(weights, on_reference_);
  const double centre_share = dot(weights, share_);
  std::vector<double> result(count_ * count_);
  for (std::size_t i = 0; i < count_; ++i) {
    const double share_i = share_[i] - centre_share;
    const double on_i = on_reference_[i] - centre_on_reference;
    for (std::size_t j = i; j < count_; ++j) {
      const double share_j = share_[j] - centre_share;
      const double on_j = on_reference_[j] - centre_on_reference;
      result[i * count_ + j] = result[j * count_ + i] = at(i, j) - with[i] - with[j] + itself +
                                                        share_i * on_j + share_j * on_i +
                                                        share_i * share_j * reference_squared_;
    }
  }
  return result;
}

std::vector<double> Geometry::distances_to(const std::vector<double>& weights) const {
  const std::vector<double> with = products_with(weights);
  const double itself = dot(weights, with);
  const double centre_on_reference = dot(weights, on_reference_);
  const double centre_share = dot(weights, share_);
  std::vector<double> result(count_);
  for (std::size_t i = 0; i < count_; ++i) {
    const double share = share_[i] - centre_share;
    const double squared = at(i, i) - 2 * with[i] + itself +
                           2 * share * (on_reference_[i] - centre_on_reference) +
                           share * share * reference_squared_;
    result[i] = std::sqrt(std::max(squared, 0.0));
  }
  return result;
}

Geometry Geometry::mixed(const Mix& mix) const {
  const std::size_t count = mix.size();
  std::vector<double> half(count * count_, 0.0);
  Geometry result = without_reference(count, std::vector<double>(count * count, 0.0));
  result.reference_squared_ = reference_squared_;
  for (std::size_t i = 0; i < count; ++i) {
    for (const Term& term : mix[i]) {
      result.on_reference_[i] += term.weight * on_reference_[term.index];
      result.share_[i] += term.weight * share_[term.index];
      for (std::size_t j = 0; j < count_; ++j)
        half[i * count_ + j] += term.weight * at(term.index, j);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i; j < count; ++j) {
      double sum = 0;
      for (const Term& term : mix[j]) sum += half[i * count_ + term.index] * term.weight;
      result.products_[i * count + j] = result.products_[j * count + i] = sum;
    }
  }
  return result;
}

bool Geometry::is_cancelling() const {
  for (std::size_t i = 0; i < count_; ++i) {
    for (std::size_t j = i + 1; j < count_; ++j) {
      const bool is_same = at(i, i) == at(i, j) && at(j, j) == at(i, j);
      if (!is_same && squared_distance(i, j) < kCancelling * (at(i, i) + at(j, j))) return true;
    }
  }
  return false;
}

std::size_t Geometry::good_reference() const {
  std::size_t best = 0;
  double best_distance = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    std::vector<double> distances;
    for (std::size_t j = 0; j < count_; ++j) distances.push_back(squared_distance(i, j));
    const auto middle = distances.begin() + static_cast<std::ptrdiff_t>(count_ / 2);
    std::nth_element(distances.begin(), middle, distances.end());
    if (i == 0 || *middle < best_distance) {
      best = i;
      best_distance = *middle;
    }
  }
  return best;
}

}  // namespace mh::robust
