#include "trainer/robust/pre.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "proto/base/random.h"

namespace mh::robust {

Mix nearest_neighbour_mix(const Geometry& geometry, std::size_t f) {
  const std::size_t count = geometry.count();
  const std::size_t keep = count - f;
  Mix mix(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<std::pair<double, std::size_t>> by_distance;
    for (std::size_t j = 0; j < count; ++j)
      by_distance.emplace_back(j == i ? -1.0 : geometry.squared_distance(i, j), j);
    std::sort(by_distance.begin(), by_distance.end());
    std::vector<std::size_t> members;
    for (std::size_t k = 0; k < keep; ++k) members.push_back(by_distance[k].second);
    std::sort(members.begin(), members.end());
    for (const std::size_t j : members)
      mix[i].push_back({.index = j, .weight = 1 / static_cast<double>(keep)});
  }
  return mix;
}

Mix bucketing_mix(std::span<const std::size_t> order, std::size_t bucket_size) {
  Mix mix;
  for (std::size_t begin = 0; begin < order.size(); begin += bucket_size) {
    const std::size_t size = std::min(bucket_size, order.size() - begin);
    std::vector<std::size_t> members(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                     order.begin() + static_cast<std::ptrdiff_t>(begin + size));
    std::sort(members.begin(), members.end());
    std::vector<Term>& row = mix.emplace_back();
    for (const std::size_t j : members)
      row.push_back({.index = j, .weight = 1 / static_cast<double>(size)});
  }
  return mix;
}

std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  Philox4x32 random(seed);
  for (std::size_t left = count; left > 1; --left)
    std::swap(order[left - 1], order[random.below(left)]);
  return order;
}

Mix clipping_mix(const Geometry& geometry, double norm_max) {
  Mix mix = identity_mix(geometry.count());
  for (std::size_t i = 0; i < mix.size(); ++i) {
    const double norm = geometry.norm(i);
    if (norm > norm_max) mix[i][0].weight = norm_max / norm;
  }
  return mix;
}

Mix adaptive_clipping_mix(const Geometry& geometry, std::size_t f) {
  const std::size_t count = geometry.count();
  const std::size_t clipped = 2 * f * (count - f) / count;
  std::vector<double> norms;
  for (std::size_t i = 0; i < count; ++i) norms.push_back(geometry.norm(i));
  std::sort(norms.begin(), norms.end(), std::greater<>());
  const double norm_max = norms[clipped];
  if (norm_max > 0) return clipping_mix(geometry, norm_max);
  // All that is not clipped is zero, and so then is what is clipped.
  Mix mix = identity_mix(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (geometry.norm(i) > 0) mix[i].clear();
  }
  return mix;
}

}  // namespace mh::robust
