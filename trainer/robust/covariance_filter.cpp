// CAF: see selection.h and docs/aggregation.md.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "proto/base/random.h"
#include "trainer/robust/selection.h"

namespace mh::robust {
namespace {

/// The eigenvector counts as found when no entry moves by more than this.
constexpr double kConverged = 1e-13;
constexpr int kPowerStepsMax = 20'000;

struct Eigenpair {
  double value = 0;
  std::vector<double> vector;  // of length 1; empty if the matrix is zero
};

double normalise(std::vector<double>& vector) {
  double squared = 0;
  for (const double value : vector) squared += value * value;
  const double length = std::sqrt(squared);
  if (length > 0) {
    for (double& value : vector) value /= length;
  }
  return length;
}

std::vector<double> times(const std::vector<double>& matrix, const std::vector<double>& vector) {
  const std::size_t count = vector.size();
  std::vector<double> result(count, 0.0);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < count; ++j) result[i] += matrix[i * count + j] * vector[j];
  }
  return result;
}

/// The largest eigenvalue of a positive semidefinite matrix, by the power method from a start that
/// is always the same.
Eigenpair top_eigenpair(const std::vector<double>& matrix, std::size_t count) {
  Eigenpair pair;
  Philox4x32 random(0);
  std::vector<double> vector(count);
  for (double& value : vector) value = uniform_double(random.next64()) - 0.5;
  normalise(vector);
  for (int step = 0; step < kPowerStepsMax; ++step) {
    std::vector<double> next = times(matrix, vector);
    pair.value = normalise(next);
    if (pair.value == 0) return {};
    double moved = 0;
    for (std::size_t i = 0; i < count; ++i) moved = std::max(moved, std::abs(next[i] - vector[i]));
    vector = std::move(next);
    if (moved < kConverged) break;
  }
  pair.vector = std::move(vector);
  return pair;
}

}  // namespace

Combination covariance_filter(const Geometry& geometry, std::size_t f) {
  const std::size_t count = geometry.count();
  const double least = static_cast<double>(count) - 2 * static_cast<double>(f);
  std::vector<double> c(count, 1.0);
  Combination best = plain_mean(count);
  double best_value = std::numeric_limits<double>::infinity();
  for (double sum = static_cast<double>(count); sum > least;
       sum = std::accumulate(c.begin(), c.end(), 0.0)) {
    std::vector<double> weights(count);
    for (std::size_t i = 0; i < count; ++i) weights[i] = c[i] / sum;
    const std::vector<double> centred = geometry.centred(weights);
    // The covariance sum of c_i (x_i - mu)(x_i - mu)ᵀ / sum c has the eigenvalues of this n × n
    // matrix; its eigenvector is a combination of the x_i - mu.
    std::vector<double> small(count * count);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = 0; j < count; ++j)
        small[i * count + j] =
            std::sqrt(weights[i]) * centred[i * count + j] * std::sqrt(weights[j]);
    }
    const Eigenpair top = top_eigenpair(small, count);
    if (top.value < best_value) {
      best_value = top.value;
      best = {.weights = weights};
    }
    if (top.vector.empty()) break;  // all vectors with weight are equal
    std::vector<double> on_top(count);
    for (std::size_t i = 0; i < count; ++i) on_top[i] = std::sqrt(weights[i]) * top.vector[i];
    std::vector<double> tau = times(centred, on_top);
    double tau_max = 0;
    for (std::size_t i = 0; i < count; ++i) {
      tau[i] *= tau[i];
      if (c[i] > 0) tau_max = std::max(tau_max, tau[i]);
    }
    if (tau_max == 0) break;
    for (std::size_t i = 0; i < count; ++i) c[i] *= std::max(0.0, 1 - tau[i] / tau_max);
  }
  return best;
}

}  // namespace mh::robust
