// The inner loops of aggregation, for one tile of columns: loading, sorting networks, inner
// products, weighted sums. Called by passes.cpp.
//
// They are compiled for every x86-64 and for AVX2. Both have the same bits, because the number of
// partial sums is part of the definition (four, by column index modulo 4), nothing is contracted
// into a fused multiply-add, and everything else is element by element (kernels_test.cpp).
// Tiles: row-major, `stride` elements a row, columns padded with zeros to a multiple of 8.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mh::robust {

/// Columns of a tile are a multiple of this.
inline constexpr std::size_t kLaneColumns = 8;
/// Rows of a tile of doubles for inner products are a multiple of this.
inline constexpr std::size_t kLaneRows = 4;
/// Partial sums of an inner product.
inline constexpr std::size_t kPartialSums = 4;

/// One step of a sorting network: the smaller value goes to row `low`, the larger to row `high`.
struct Comparator {
  std::uint16_t low = 0;
  std::uint16_t high = 0;
  /// What is needed of it later.
  bool keeps_low = true;
  bool keeps_high = true;
};

/// One entry of a row of a mixing matrix.
struct Term {
  std::size_t index = 0;
  double weight = 0;
};

/// Rows of a tile that are added up beforehand in every way, for mix_groups().
inline constexpr std::size_t kGroupRows = 4;
inline constexpr std::size_t kGroupSums = 16;
/// Columns that mix_groups() works on at a time: its table holds kGroupSums times so many doubles
/// for each group.
inline constexpr std::size_t kGroupColumns = 8;

/// Rows that are each a sum of some rows of a tile, times a weight.
struct GroupedMix {
  /// Rows of the tile / kGroupRows.
  std::size_t groups = 0;
  /// For each new row, for each group, where its sum begins in the table of the group: m ×
  /// kGroupColumns, where bit k of m says that row k of the group is in the sum.
  const std::uint16_t* entries = nullptr;
  /// For each new row.
  const double* weights = nullptr;
  std::size_t rows = 0;
};

struct Kernels {
  /// Copies `columns` float32 values, not necessarily aligned, as they are but -0, which becomes 0;
  /// pads to a multiple of 8. False if one of them is NaN or infinite.
  bool (*load)(const std::byte* from, std::size_t columns, float* to);
  /// The same as doubles, less those at `reference` unless that is null.
  bool (*load_wide)(const std::byte* from, const std::byte* reference, std::size_t columns,
                    double* to);
  /// Applies a sorting network to the rows of each column.
  void (*sort)(float* tile, std::size_t stride, std::size_t columns, const Comparator* network,
               std::size_t network_size);
  /// out = (row first + … + row last-1, in this order, in double) / (last - first), rounded once.
  void (*mean_of_rows)(const float* tile, std::size_t stride, std::size_t columns,
                       std::size_t first, std::size_t last, float* out);
  /// Of sorted rows: the mean of the `keep` values nearest to the median; of two values equally
  /// far the smaller one is kept.
  void (*mean_around_median)(const float* tile, std::size_t stride, std::size_t columns,
                             std::size_t rows, std::size_t keep, float* out);
  /// Adds to lanes[(i * rows + j) * 4 + k], i <= j, the products of the columns k, k + 4, k + 8, …
  /// Requires: rows a multiple of kLaneRows.
  void (*gram)(const double* tile, std::size_t rows, std::size_t stride, std::size_t columns,
               double* lanes);
  /// out = the sum of weight × row over `terms`, in order, in double, rounded once.
  void (*mix)(const double* tile, std::size_t stride, std::size_t columns, const Term* terms,
              std::size_t term_count, float* out);
  /// Row i of `out` = (the sums of its members of each group, each in order, added in the order of
  /// the groups, in double) × weight, rounded once. `table`: room for groups × kGroupSums ×
  /// kGroupColumns. Requires: rows of the tile a multiple of kGroupRows.
  void (*mix_groups)(const float* tile, std::size_t stride, std::size_t columns,
                     const GroupedMix& mix, double* table, float* out);
  /// out[i] = (sum of weight × float32 at values[index] + 4 i, in order) / divisor, rounded once.
  /// False if a sum is not finite. Requires: columns <= kSumColumns.
  bool (*weighted_sum)(const std::byte* const* values, std::size_t columns, const Term* terms,
                       std::size_t term_count, double divisor, float* out);
};

inline constexpr std::size_t kSumColumns = 2'048;

/// For every x86-64.
const Kernels& baseline_kernels();
/// Null where the processor has no AVX2.
const Kernels* avx2_kernels();
/// The fastest that this processor runs.
const Kernels& best_kernels();

}  // namespace mh::robust
