#include "tests/bench/attack/vectors.h"

#include <bit>
#include <cmath>

#include "proto/base/check.h"
#include "proto/base/random.h"
#include "trainer/model/deviates.h"

namespace mh::attack {
namespace {

std::vector<double> mean_in_double(Vectors honest) {
  MH_CHECK(!honest.empty());
  std::vector<double> mean(honest[0].size());
  for (const Vector& vector : honest) {
    MH_CHECK(vector.size() == mean.size());
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += vector[i];
  }
  for (double& value : mean) value /= static_cast<double>(honest.size());
  return mean;
}

std::vector<double> deviation_in_double(Vectors honest, std::span<const double> mean) {
  std::vector<double> deviation(mean.size());
  if (honest.size() < 2) return deviation;
  for (const Vector& vector : honest) {
    for (std::size_t i = 0; i < mean.size(); ++i) {
      const double difference = vector[i] - mean[i];
      deviation[i] += difference * difference;
    }
  }
  for (double& value : deviation) value = std::sqrt(value / static_cast<double>(honest.size() - 1));
  return deviation;
}

Vector rounded(std::span<const double> values) { return {values.begin(), values.end()}; }

}  // namespace

Vector mean_of(Vectors honest) { return rounded(mean_in_double(honest)); }

Vector deviation_of(Vectors honest) {
  return rounded(deviation_in_double(honest, mean_in_double(honest)));
}

Vector scaled(std::span<const float> vector, double factor) {
  Vector out(vector.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(vector[i] * factor);
  return out;
}

Vector inner_product_attack(Vectors honest, double tau) {
  std::vector<double> out = mean_in_double(honest);
  for (double& value : out) value *= -tau;
  return rounded(out);
}

Vector little_is_enough(Vectors honest, double tau) {
  std::vector<double> out = mean_in_double(honest);
  const std::vector<double> deviation = deviation_in_double(honest, out);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] += tau * deviation[i];
  return rounded(out);
}

double normal_quantile(double p) {
  MH_CHECK(p > 0 && p < 1);
  // Bisection: erfc is exact enough everywhere, and nothing here is in a hurry.
  double low = -40;
  double high = 40;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

double little_is_enough_z_max(std::size_t n, std::size_t f) {
  MH_CHECK(2 * f < n);
  const auto supporters = static_cast<double>(n / 2 + 1 - f);
  const auto honest = static_cast<double>(n - f);
  return normal_quantile((honest - supporters) / honest);
}

Vector gaussian(std::size_t size, double sigma, std::uint64_t key, std::uint64_t stream) {
  Vector out(size);
  model::fill_normal(out, key, stream, static_cast<float>(sigma));
  return out;
}

Vector with_flipped_bits(Vector vector, std::size_t count, std::uint64_t key,
                         std::uint64_t stream) {
  Philox4x32 random(key, stream);
  for (std::size_t i = 0; i < count; ++i) {
    float& value = vector[random.below(vector.size())];
    const auto bits = std::bit_cast<std::uint32_t>(value);
    value = std::bit_cast<float>(bits ^ (std::uint32_t{1} << random.below(32)));
  }
  return vector;
}

double line_search(const std::function<double(double)>& damage, const Search& search) {
  double best = search.start;
  double best_damage = damage(best);
  double delta = search.delta;
  bool is_expanding = true;
  for (int evaluation = 1; evaluation < search.evaluations; ++evaluation) {
    const double tried = damage(best + delta);
    const bool is_better = tried > best_damage;
    if (is_better) {
      best += delta;
      best_damage = tried;
    }
    is_expanding = is_expanding && is_better;
    delta *= is_expanding ? 2 : search.ratio;
  }
  return best;
}

}  // namespace mh::attack
