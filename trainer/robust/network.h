// Sorting networks for any number of rows, and only as much of them as is needed. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "trainer/robust/kernels.h"

namespace mh::robust {

/// Batcher's merge exchange (Knuth, volume 3, 5.2.2 M) for `rows` rows, without what does not
/// change the rows [first, last) of the sorted column. Requires: first < last <= rows <= 65,535.
std::vector<Comparator> sorting_network(std::size_t rows, std::size_t first, std::size_t last);

}  // namespace mh::robust
