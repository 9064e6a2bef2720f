// The passes over the data: inner products, weighted sum, coordinate-wise rules. Each reads every
// input once, tile by tile, and shares the columns out among threads.
//
// Bits do not depend on threads or tiles: columns are independent of each other, except in inner
// products, which are summed in kBands bands of columns with four partial sums each; the bands'
// sums are added in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "trainer/robust/geometry.h"
#include "trainer/robust/kernels.h"

namespace mh::robust {

/// Parts of the columns that inner products are summed in by themselves.
inline constexpr std::size_t kBands = 16;

/// One vector: float32 numbers as they lie in memory (little-endian, not necessarily aligned), or
/// the mean of such sums: each number is (parts[0] + parts[1] + …, in this order, in double) /
/// divisor, rounded once to float32, as update::mean_gradient() has it. Parts are then aligned.
struct Vector {
  std::vector<const std::byte*> parts;
  /// 0: one part, as it lies there.
  std::uint64_t divisor = 0;

  bool is_mean() const { return divisor > 0; }
};

/// Where [begin, begin + count) of a vector can be read: in memory as it lies, or in `room`, where
/// it is computed. Requires: room for `count` floats if it is a mean.
const std::byte* values_at(const Vector& vector, std::size_t begin, std::size_t count, float* room);

struct Columns {
  std::vector<Vector> vectors;
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
std::optional<std::size_t> first_not_finite(const Vector& vector, std::size_t count);

}  // namespace mh::robust
