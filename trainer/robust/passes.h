// The passes over the data: inner products, weighted sum, coordinate-wise rules. Each reads every
// input once, tile by tile, and shares the columns out among threads.
//
// Bits do not depend on threads or tiles: columns are independent of each other, except in inner
// products, which are summed in kBands bands of columns with four partial sums each; the bands'
// sums are added in order.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "trainer/robust/geometry.h"
#include "trainer/robust/kernels.h"

namespace mh::robust {

/// Parts of the columns that inner products are summed in by themselves.
inline constexpr std::size_t kBands = 16;

/// Where the vectors lie: float32, little-endian, not necessarily aligned.
struct Columns {
  std::vector<const std::byte*> vectors;
  std::size_t count = 0;
};

/// How to go over them. `tile_bytes`: about what a tile takes of the processor's cache.
struct PassOptions {
  unsigned threads = 1;
  std::size_t tile_bytes = 32'768;
  const Kernels* kernels = &best_kernels();
};

/// x_i·x_j in double, n × n; with a reference those of x_i - x_reference, where row and column
/// `reference` belong to x_reference itself. Nothing if a value is not finite.
std::optional<std::vector<double>> inner_products(const Columns& columns,
                                                  std::optional<std::size_t> reference,
                                                  const PassOptions& options);

/// out = (sum of weight × vector, in double) / divisor. False if a value with weight is not finite.
bool weighted_sum(const Columns& columns, std::span<const Term> terms, double divisor,
                  std::span<float> out, const PassOptions& options);

/// What a coordinate-wise rule does with the sorted column.
struct ColumnRule {
  /// Rows [first, last) of it are averaged …
  std::size_t first = 0;
  std::size_t last = 0;
  /// … or the `keep` values nearest to the median, if this is above 0.
  std::size_t keep = 0;
};

/// Applies the rule to each column, first mixing the vectors unless `mix` is empty; mixed values
/// are rounded to float32. False if a value is not finite.
bool coordinate_wise(const Columns& columns, const Mix& mix, const ColumnRule& rule,
                     std::span<float> out, const PassOptions& options);

/// The first value that is NaN or infinite of a vector, if there is one.
std::optional<std::size_t> first_not_finite(const std::byte* vector, std::size_t count);

}  // namespace mh::robust
