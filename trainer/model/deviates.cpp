// Deviates by series instead of libm; see deviates.h. The folder is compiled without fused
// multiply-adds.
#include "trainer/model/deviates.h"

#include <cmath>
#include <utility>

#include "proto/base/random.h"

namespace mh::model {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr double kPi = 3.141592653589793;

/// Natural logarithm of value > 0: 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)).
double logarithm(double value) {
  int exponent = 0;
  double mantissa = std::frexp(value, &exponent);
  if (mantissa < 0.7071067811865476) {
    mantissa *= 2;
    --exponent;
  }
  const double ratio = (mantissa - 1) / (mantissa + 1);
  const double square = ratio * ratio;
  double sum = 0;
  for (int k = 27; k >= 3; k -= 2) sum = (sum + 1.0 / k) * square;
  return 2 * ratio * (1 + sum) + exponent * kLn2;
}

/// Cosine and sine of an angle in [0, π/4], by their Taylor series.
std::pair<double, double> small_angle(double angle) {
  const double square = angle * angle;
  double cosine = 0;
  double sine = 0;
  for (int n = 20; n >= 2; n -= 2) {
    cosine = (1 + cosine) * (-square / (n * (n - 1)));
    sine = (1 + sine) * (-square / (n * (n + 1)));
  }
  return {1 + cosine, angle * (1 + sine)};
}

/// Cosine and sine of 2π turn for turn in [0, 1).
std::pair<double, double> turned(double turn) {
  const double eighths = turn * 8;
  const int eighth = static_cast<int>(eighths);
  const double rest = eighths - eighth;
  const bool is_mirrored = eighth % 2 == 1;
  auto [cosine, sine] = small_angle((is_mirrored ? 1 - rest : rest) * (kPi / 4));
  if (is_mirrored) std::swap(cosine, sine);
  switch (eighth / 2) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

}  // namespace

void fill_uniform(std::span<float> out, std::uint64_t key, std::uint64_t stream, float scale) {
  const Philox4x32 generator(key, stream);
  for (std::size_t i = 0; i < out.size(); i += 4) {
    const auto words = generator.block(i / 4);
    for (std::size_t j = i; j < out.size() && j < i + 4; ++j) {
      out[j] = (uniform_float(words[j - i]) * 2 - 1) * scale;
    }
  }
}

void fill_normal(std::span<float> out, std::uint64_t key, std::uint64_t stream, float scale) {
  const Philox4x32 generator(key, stream);
  for (std::size_t i = 0; i < out.size(); i += 2) {
    const auto words = generator.block(i / 2);
    const double first = uniform_double(words[0] | std::uint64_t{words[1]} << 32);
    const double second = uniform_double(words[2] | std::uint64_t{words[3]} << 32);
    // 1 - first is in (0, 1]: its logarithm exists.
    const double radius = std::sqrt(-2 * logarithm(1 - first)) * static_cast<double>(scale);
    const auto [cosine, sine] = turned(second);
    out[i] = static_cast<float>(radius * cosine);
    if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * sine);
  }
}

}  // namespace mh::model
