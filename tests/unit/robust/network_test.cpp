// Sorting networks: by the zero-one principle, and on the tiles of every processor.
#include "trainer/robust/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "proto/base/random.h"

namespace mh::robust {
namespace {

std::vector<float> random_tile(std::size_t count, std::uint64_t seed) {
  std::vector<float> tile(count);
  Philox4x32 random(seed);
  for (float& value : tile) value = static_cast<float>(random.below(50));
  return tile;
}

TEST(SortingNetwork, SortsEveryZeroOneColumn) {
  // A network that sorts all columns of zeros and ones sorts every column (Knuth 5.3.4 Z).
  for (std::size_t rows = 1; rows <= 14; ++rows) {
    const auto network = sorting_network(rows, 0, rows);
    for (std::uint32_t bits = 0; bits < (1U << rows); ++bits) {
      std::vector<int> column(rows);
      for (std::size_t i = 0; i < rows; ++i) column[i] = (bits >> i) & 1;
      for (const Comparator& step : network) {
        if (column[step.low] > column[step.high]) std::swap(column[step.low], column[step.high]);
      }
      ASSERT_TRUE(std::is_sorted(column.begin(), column.end())) << rows;
    }
  }
}

TEST(SortingNetwork, FindsTheRowsAskedForOnEveryProcessor) {
  constexpr std::size_t kColumns = 16;
  for (const std::size_t rows : {1U, 2U, 3U, 11U, 16U, 33U, 64U, 100U}) {
    for (std::size_t first = 0; first < rows; first += 1 + rows / 7) {
      const std::size_t last = std::min(rows, first + 1 + rows / 5);
      const auto network = sorting_network(rows, first, last);
      for (const Kernels* kernels : {&baseline_kernels(), &best_kernels()}) {
        std::vector<float> tile = random_tile(rows * kColumns, rows);
        const std::vector<float> before = tile;
        kernels->sort(tile.data(), kColumns, kColumns, network.data(), network.size());
        for (std::size_t column = 0; column < kColumns; ++column) {
          std::vector<float> values;
          for (std::size_t row = 0; row < rows; ++row)
            values.push_back(before[row * kColumns + column]);
          std::sort(values.begin(), values.end());
          for (std::size_t row = first; row < last; ++row)
            ASSERT_EQ(tile[row * kColumns + column], values[row]) << rows << " rows";
        }
      }
    }
  }
}

TEST(SortingNetwork, LeavesOutWhatTheMedianDoesNotNeed) {
  EXPECT_EQ(sorting_network(16, 0, 16).size(), 63U);
  EXPECT_EQ(sorting_network(64, 0, 64).size(), 543U);
  EXPECT_LT(sorting_network(64, 31, 33).size(), 543U);
}

}  // namespace
}  // namespace mh::robust
