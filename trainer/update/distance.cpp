// See distance.h.
#include "trainer/update/distance.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace mh::update {
namespace {

// A tensor's share of the whole below which it is measured against this share.
constexpr double kShareMin = 1e-3;

struct Sums {
  double a = 0;
  double b = 0;
  double difference = 0;
  double product = 0;

  double norm_max() const { return std::sqrt(std::max(a, b)); }
  void add(const Sums& other) {
    a += other.a;
    b += other.b;
    difference += other.difference;
    product += other.product;
  }
};

Sums sums_of(std::span<const float> a, std::span<const float> b) {
  Sums sums;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    const double y = b[i];
    sums.a += x * x;
    sums.b += y * y;
    sums.product += x * y;
    sums.difference += (x - y) * (x - y);
  }
  return sums;
}

double ratio(double difference, double norm) {
  if (difference == 0) return 0;
  return std::sqrt(difference) / norm;
}

double one_minus_cosine(const Sums& whole) {
  if (whole.a == 0 && whole.b == 0) return 0;
  if (whole.a == 0 || whole.b == 0) return 1;
  // Rounding may bring it below zero.
  return std::max(0.0, 1 - whole.product / (std::sqrt(whole.a) * std::sqrt(whole.b)));
}

}  // namespace

Result<UpdateDistance> measure_distance(std::span<const float> a, std::span<const float> b,
                                        std::span<const model::ParameterSpec> layout) {
  std::vector<Sums> tensors;
  tensors.reserve(layout.size());
  Sums whole;
  std::uint64_t end = 0;
  for (const model::ParameterSpec& tensor : layout) {
    if (tensor.offset != end || a.size() - end < tensor.count || b.size() != a.size()) {
      return fail(Errc::kInvalidArgument, "tensor " + tensor.name + " does not lie in updates of " +
                                              std::to_string(a.size()) + " and " +
                                              std::to_string(b.size()) + " values");
    }
    end += tensor.count;
    tensors.push_back(
        sums_of(a.subspan(tensor.offset, tensor.count), b.subspan(tensor.offset, tensor.count)));
    whole.add(tensors.back());
  }
  if (end != a.size()) {
    return fail(Errc::kInvalidArgument, "the layout has " + std::to_string(end) +
                                            " values, the updates " + std::to_string(a.size()));
  }
  UpdateDistance distance;
  distance.relative_l2 = ratio(whole.difference, whole.norm_max());
  distance.one_minus_cosine = one_minus_cosine(whole);
  for (const Sums& tensor : tensors) {
    const double norm = std::max(tensor.norm_max(), kShareMin * whole.norm_max());
    distance.relative_l2 = std::max(distance.relative_l2, ratio(tensor.difference, norm));
  }
  return distance;
}

}  // namespace mh::update
