#include "trainer/robust/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "proto/base/check.h"

namespace mh::robust {
namespace {

Combination mean_of(const std::vector<std::size_t>& members, std::size_t count) {
  Combination result;
  result.weights.assign(count, 0.0);
  for (const std::size_t i : members) result.weights[i] = 1;
  result.divisor = static_cast<double>(members.size());
  return result;
}

std::vector<std::size_t> best_scores(const std::vector<double>& scores, std::size_t count) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  order.resize(count);
  return order;
}

Combination geometric_median(const Recipe& recipe, const Geometry& geometry) {
  std::vector<double> weights(geometry.count(), 0.0);  // z = 0
  for (std::uint64_t t = 0; t < recipe.iterations.value_or(3); ++t) {
    const std::vector<double> distances = geometry.distances_to(weights);
    double sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i)
      sum += weights[i] = 1 / std::max(recipe.nu, distances[i]);
    for (double& weight : weights) weight /= sum;
  }
  return {.weights = std::move(weights)};
}

Combination centered_clipping(const Recipe& recipe, const Geometry& geometry) {
  const auto count = static_cast<double>(geometry.count());
  std::vector<double> weights(geometry.count(), 0.0);  // v = 0
  for (std::uint64_t t = 0; t < recipe.iterations.value_or(1); ++t) {
    const std::vector<double> distances = geometry.distances_to(weights);
    std::vector<double> factors;
    double sum = 0;
    for (const double distance : distances) {
      factors.push_back(distance > recipe.tau ? recipe.tau / distance : 1.0);
      sum += factors.back();
    }
    for (std::size_t i = 0; i < weights.size(); ++i)
      weights[i] = weights[i] * (1 - sum / count) + factors[i] / count;
  }
  return {.weights = std::move(weights)};
}

/// Goes through the subsets in lexicographic order, leaving out those that cannot win.
class DiameterSearch {
 public:
  DiameterSearch(const Geometry& geometry, std::size_t size)
      : count_(geometry.count()), size_(size), distances_(count_ * count_) {
    for (std::size_t i = 0; i < count_; ++i) {
      for (std::size_t j = 0; j < count_; ++j)
        distances_[i * count_ + j] = geometry.squared_distance(i, j);
    }
  }

  std::vector<std::size_t> best() {
    extend(0, 0);
    return best_;
  }

 private:
  void extend(std::size_t next, double diameter) {
    if (members_.size() == size_) {
      best_ = members_;
      best_diameter_ = diameter;
      return;
    }
    const std::size_t needed = size_ - members_.size();
    for (std::size_t i = next; i + needed <= count_; ++i) {
      double wider = diameter;
      for (const std::size_t member : members_)
        wider = std::max(wider, distances_[member * count_ + i]);
      if (wider >= best_diameter_) continue;
      members_.push_back(i);
      extend(i + 1, wider);
      members_.pop_back();
    }
  }

  const std::size_t count_;
  const std::size_t size_;
  std::vector<double> distances_;
  std::vector<std::size_t> members_;
  std::vector<std::size_t> best_;
  double best_diameter_ = std::numeric_limits<double>::infinity();
};

}  // namespace

std::vector<double> krum_scores(const Geometry& geometry, std::size_t neighbours) {
  std::vector<double> scores;
  for (std::size_t i = 0; i < geometry.count(); ++i) {
    std::vector<double> distances;
    for (std::size_t j = 0; j < geometry.count(); ++j) {
      if (j != i) distances.push_back(geometry.squared_distance(i, j));
    }
    std::sort(distances.begin(), distances.end());
    const auto end = distances.begin() + static_cast<std::ptrdiff_t>(neighbours);
    scores.push_back(std::accumulate(distances.begin(), end, 0.0));
  }
  return scores;
}

std::vector<std::size_t> smallest_diameter(const Geometry& geometry, std::size_t f) {
  return DiameterSearch(geometry, geometry.count() - f).best();
}

Combination plain_mean(std::size_t count) {
  return {.weights = std::vector<double>(count, 1.0), .divisor = static_cast<double>(count)};
}

Combination combine(const Recipe& recipe, const Geometry& geometry) {
  const std::size_t count = geometry.count();
  const auto best = [&](std::size_t how_many) {
    return best_scores(krum_scores(geometry, krum_neighbours(recipe, count)), how_many);
  };
  switch (recipe.rule) {
    case Rule::kKrum:
      return mean_of(best(1), count);
    case Rule::kMultiKrum:
      return mean_of(best(multi_krum_q(recipe, count)), count);
    case Rule::kGeometricMedian:
      return geometric_median(recipe, geometry);
    case Rule::kCenteredClipping:
      return centered_clipping(recipe, geometry);
    case Rule::kMda:
      return mean_of(smallest_diameter(geometry, recipe.f), count);
    case Rule::kCaf:
      return covariance_filter(geometry, recipe.f);
    default:
      MH_CHECK(false);
      return {};
  }
}

}  // namespace mh::robust
