#include "trainer/robust/network.h"

#include <algorithm>
#include <bit>

#include "proto/base/check.h"

namespace mh::robust {
namespace {

std::vector<Comparator> merge_exchange(std::size_t rows) {
  std::vector<Comparator> network;
  if (rows < 2) return network;
  const std::size_t top = std::bit_ceil(rows) / 2;
  for (std::size_t p = top; p > 0; p /= 2) {
    std::size_t q = top, r = 0, distance = p;
    while (true) {
      for (std::size_t i = 0; i + distance < rows; ++i) {
        if ((i & p) != r) continue;
        Comparator step;
        step.low = static_cast<std::uint16_t>(i);
        step.high = static_cast<std::uint16_t>(i + distance);
        network.push_back(step);
      }
      if (q == p) break;
      distance = q - p;
      q /= 2;
      r = p;
    }
  }
  return network;
}

}  // namespace

std::vector<Comparator> sorting_network(std::size_t rows, std::size_t first, std::size_t last) {
  MH_CHECK(first < last && last <= rows && rows <= 65'535);
  std::vector<Comparator> network = merge_exchange(rows);
  std::vector<bool> is_needed(rows, false);
  std::fill(is_needed.begin() + static_cast<std::ptrdiff_t>(first),
            is_needed.begin() + static_cast<std::ptrdiff_t>(last), true);
  // From the end: a comparator counts if one of its rows is looked at later.
  for (std::size_t i = network.size(); i-- > 0;) {
    Comparator& step = network[i];
    step.keeps_low = is_needed[step.low];
    step.keeps_high = is_needed[step.high];
    if (step.keeps_low || step.keeps_high) is_needed[step.low] = is_needed[step.high] = true;
  }
  std::erase_if(network, [](const Comparator& s) { return !s.keeps_low && !s.keeps_high; });
  return network;
}

}  // namespace mh::robust
