// The text of the inner loops, compiled once a target in the namespace MH_ROBUST_TARGET; only
// kernels_*.cpp include it. See kernels.h.
//
// No inline functions of the standard library here: their copies compiled for one target would be
// linked into programs that run on another.
#pragma once

#include "trainer/robust/kernels.h"

namespace mh::robust::MH_ROBUST_TARGET {
namespace {

// Vectors of the compiler: on a target with narrower registers, two or four of those.
using Float4 = float __attribute__((vector_size(16)));
using Float8 = float __attribute__((vector_size(32)));
using Int8 = std::int32_t __attribute__((vector_size(32)));
using Double4 = double __attribute__((vector_size(32)));

constexpr std::int32_t kExponent = 0x7f800000;

#define MH_INLINE [[gnu::always_inline]] inline

template <class Vector>
MH_INLINE Vector load_vector(const void* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class Vector>
MH_INLINE void store_vector(void* to, const Vector& vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

MH_INLINE Double4 load_as_doubles(const std::byte* from) {
  return __builtin_convertvector(load_vector<Float4>(from), Double4);
}

MH_INLINE bool any(const Int8& mask) {
  std::int32_t bits = 0;
  for (int i = 0; i < 8; ++i) bits |= mask[i];
  return bits != 0;
}

/// Eight floats from `from`, of which the last may be missing.
MH_INLINE Float8 load_some(const std::byte* from, std::size_t count) {
  Float8 vector = {};
  __builtin_memcpy(&vector, from, count * sizeof(float));
  return vector;
}

MH_INLINE Int8 not_finite(const Float8& values) {
  return (load_vector<Int8>(&values) & kExponent) == kExponent;
}

bool load(const std::byte* from, std::size_t columns, float* to) {
  Int8 bad = {};
  std::size_t i = 0;
  for (; i + 8 <= columns; i += 8) {
    const Float8 values = load_vector<Float8>(from + i * 4);
    // The next tile of this row, to the second-level cache, while this one is worked on.
    __builtin_prefetch(from + (i + columns) * 4, 0, 2);
    bad |= not_finite(values);
    store_vector(to + i, Float8(values + 0.0F));
  }
  if (i < columns) {
    const Float8 values = load_some(from + i * 4, columns - i);
    bad |= not_finite(values);
    store_vector(to + i, Float8(values + 0.0F));
  }
  return !any(bad);
}

MH_INLINE void store_difference(const Float8& values, const Float8& reference, double* to) {
  for (int half = 0; half < 2; ++half) {
    const auto* value_half = reinterpret_cast<const std::byte*>(&values) + half * 16;
    const auto* reference_half = reinterpret_cast<const std::byte*>(&reference) + half * 16;
    store_vector(to + half * 4,
                 Double4(load_as_doubles(value_half) - load_as_doubles(reference_half)));
  }
}

bool load_wide(const std::byte* from, const std::byte* reference, std::size_t columns, double* to) {
  Int8 bad = {};
  Float8 less = {};
  std::size_t i = 0;
  for (; i + 8 <= columns; i += 8) {
    const Float8 values = load_vector<Float8>(from + i * 4);
    __builtin_prefetch(from + (i + columns) * 4, 0, 2);
    bad |= not_finite(values);
    if (reference != nullptr) less = load_vector<Float8>(reference + i * 4);
    store_difference(values, less, to + i);
  }
  if (i < columns) {
    const Float8 values = load_some(from + i * 4, columns - i);
    bad |= not_finite(values);
    if (reference != nullptr) less = load_some(reference + i * 4, columns - i);
    store_difference(values, less, to + i);
  }
  return !any(bad);
}

void sort(float* tile, std::size_t stride, std::size_t columns, const Comparator* network,
          std::size_t network_size) {
  for (std::size_t s = 0; s < network_size; ++s) {
    const Comparator& step = network[s];
    float* low = tile + step.low * stride;
    float* high = tile + step.high * stride;
    for (std::size_t i = 0; i < columns; i += 8) {
      const Float8 a = load_vector<Float8>(low + i);
      const Float8 b = load_vector<Float8>(high + i);
      if (step.keeps_low) store_vector(low + i, Float8(a < b ? a : b));
      if (step.keeps_high) store_vector(high + i, Float8(a < b ? b : a));
    }
  }
}

void mean_of_rows(const float* tile, std::size_t stride, std::size_t columns, std::size_t first,
                  std::size_t last, float* out) {
  const auto divisor = static_cast<double>(last - first);
  for (std::size_t i = 0; i < columns; i += 8) {
    Double4 left = {}, right = {};
    for (std::size_t row = first; row < last; ++row) {
      const auto* values = reinterpret_cast<const std::byte*>(tile + row * stride + i);
      left += load_as_doubles(values);
      right += load_as_doubles(values + 16);
    }
    store_vector(out + i, Float4(__builtin_convertvector(left / divisor, Float4)));
    store_vector(out + i + 4, Float4(__builtin_convertvector(right / divisor, Float4)));
  }
}

void mean_around_median(const float* tile, std::size_t stride, std::size_t columns,
                        std::size_t rows, std::size_t keep, float* out) {
  for (std::size_t i = 0; i < columns; ++i) {
    const float* column = tile + i;
    const double median = (static_cast<double>(column[(rows - 1) / 2 * stride]) +
                           static_cast<double>(column[rows / 2 * stride])) /
                          2;
    // The nearest ones lie side by side: take away the farther end until `keep` are left.
    std::size_t first = 0, last = rows;
    while (last - first > keep) {
      const double below = median - static_cast<double>(column[first * stride]);
      const double above = static_cast<double>(column[(last - 1) * stride]) - median;
      if (below > above) {
        ++first;
      } else {
        --last;
      }
    }
    double sum = 0;
    for (std::size_t row = first; row < last; ++row) sum += column[row * stride];
    out[i] = static_cast<float>(sum / static_cast<double>(keep));
  }
}

/// Inner products of the rows i, …, i + 3 with j and j + 1.
MH_INLINE void gram_block(const double* tile, std::size_t rows, std::size_t stride,
                          std::size_t columns, std::size_t i, std::size_t j, double* lanes) {
  Double4 sums[kLaneRows][2];
  for (std::size_t a = 0; a < kLaneRows; ++a) {
    for (std::size_t b = 0; b < 2; ++b)
      sums[a][b] = load_vector<Double4>(lanes + ((i + a) * rows + j + b) * kPartialSums);
  }
  const double* first = tile + i * stride;
  const double* second = tile + j * stride;
  for (std::size_t k = 0; k < columns; k += kPartialSums) {
    const Double4 left = load_vector<Double4>(second + k);
    const Double4 right = load_vector<Double4>(second + stride + k);
    for (std::size_t a = 0; a < kLaneRows; ++a) {
      const Double4 value = load_vector<Double4>(first + a * stride + k);
      sums[a][0] += value * left;
      sums[a][1] += value * right;
    }
  }
  for (std::size_t a = 0; a < kLaneRows; ++a) {
    for (std::size_t b = 0; b < 2; ++b)
      store_vector(lanes + ((i + a) * rows + j + b) * kPartialSums, sums[a][b]);
  }
}

void gram(const double* tile, std::size_t rows, std::size_t stride, std::size_t columns,
          double* lanes) {
  for (std::size_t i = 0; i < rows; i += kLaneRows) {
    for (std::size_t j = i; j < rows; j += 2) gram_block(tile, rows, stride, columns, i, j, lanes);
  }
}

/// Columns [0, 4 kVectors) of a mixed row: so many sums side by side that additions need not wait
/// for each other.
template <std::size_t kVectors>
MH_INLINE void mix_block(const double* tile, std::size_t stride, const Term* terms,
                         std::size_t term_count, float* out) {
  Double4 sums[kVectors] = {};
  for (std::size_t t = 0; t < term_count; ++t) {
    const double* values = tile + terms[t].index * stride;
    const double weight = terms[t].weight;
    for (std::size_t v = 0; v < kVectors; ++v)
      sums[v] += load_vector<Double4>(values + v * 4) * weight;
  }
  // As when a tile is loaded: no -0.
  for (std::size_t v = 0; v < kVectors; ++v)
    store_vector(out + v * 4, Float4(__builtin_convertvector(sums[v], Float4) + 0.0F));
}

void mix(const double* tile, std::size_t stride, std::size_t columns, const Term* terms,
         std::size_t term_count, float* out) {
  std::size_t i = 0;
  for (; i + 32 <= columns; i += 32) mix_block<8>(tile + i, stride, terms, term_count, out + i);
  for (; i < columns; i += 8) mix_block<2>(tile + i, stride, terms, term_count, out + i);
}

/// The sums of all subsets of four rows, for four columns: entry m is that of the rows whose bits
/// are in m, in order.
MH_INLINE void sum_subsets(const float* rows, std::size_t stride, double* table) {
  static_assert(kGroupRows == 4 && kGroupSums == 16);
  const auto row = [&](std::size_t i) {
    return load_as_doubles(reinterpret_cast<const std::byte*>(rows + i * stride));
  };
  const auto keep = [&](std::size_t entry, const Double4& sum) {
    store_vector(table + entry * kGroupColumns, sum);
  };
  const Double4 a = row(0), b = row(1), c = row(2), d = row(3);
  const Double4 ab = a + b, ac = a + c, bc = b + c, abc = ab + c;
  keep(0, Double4{});
  keep(1, a);
  keep(2, b);
  keep(3, ab);
  keep(4, c);
  keep(5, ac);
  keep(6, bc);
  keep(7, abc);
  keep(8, d);
  keep(9, a + d);
  keep(10, b + d);
  keep(11, ab + d);
  keep(12, c + d);
  keep(13, ac + d);
  keep(14, bc + d);
  keep(15, abc + d);
}

void mix_groups(const float* tile, std::size_t stride, std::size_t columns, const GroupedMix& mix,
                double* table, float* out) {
  constexpr std::size_t kGroupTable = kGroupSums * kGroupColumns;
  for (std::size_t i = 0; i < columns; i += kGroupColumns) {
    for (std::size_t group = 0; group < mix.groups; ++group) {
      const float* rows = tile + group * kGroupRows * stride + i;
      sum_subsets(rows, stride, table + group * kGroupTable);
      sum_subsets(rows + 4, stride, table + group * kGroupTable + 4);
    }
    for (std::size_t row = 0; row < mix.rows; ++row) {
      const std::uint16_t* entries = mix.entries + row * mix.groups;
      const double* first = table + entries[0];
      Double4 left = load_vector<Double4>(first), right = load_vector<Double4>(first + 4);
      const double* sums = table;
      for (std::size_t group = 1; group < mix.groups; ++group) {
        sums += kGroupTable;
        left += load_vector<Double4>(sums + entries[group]);
        right += load_vector<Double4>(sums + entries[group] + 4);
      }
      const double weight = mix.weights[row];
      float* to = out + row * stride + i;
      store_vector(to, Float4(__builtin_convertvector(left * weight, Float4) + 0.0F));
      store_vector(to + 4, Float4(__builtin_convertvector(right * weight, Float4) + 0.0F));
    }
  }
}

MH_INLINE void add_one(double* sums, const std::byte* values, double weight, std::size_t columns) {
  for (std::size_t i = 0; i < columns; i += 4) {
    const Double4 sum = load_vector<Double4>(sums + i) + load_as_doubles(values + i * 4) * weight;
    store_vector(sums + i, sum);
  }
}

MH_INLINE void add_four(double* sums, const std::byte* const* values, const Term* terms,
                        std::size_t columns) {
  const std::byte* a = values[terms[0].index];
  const std::byte* b = values[terms[1].index];
  const std::byte* c = values[terms[2].index];
  const std::byte* d = values[terms[3].index];
  for (std::size_t i = 0; i < columns; i += 4) {
    Double4 sum = load_vector<Double4>(sums + i) + load_as_doubles(a + i * 4) * terms[0].weight;
    sum += load_as_doubles(b + i * 4) * terms[1].weight;
    sum += load_as_doubles(c + i * 4) * terms[2].weight;
    sum += load_as_doubles(d + i * 4) * terms[3].weight;
    store_vector(sums + i, sum);
  }
}

bool weighted_sum(const std::byte* const* values, std::size_t columns, const Term* terms,
                  std::size_t term_count, double divisor, float* out) {
  alignas(32) double sums[kSumColumns] = {};
  const std::size_t whole = columns / 4 * 4;
  std::size_t done = 0;
  for (; done + 4 <= term_count; done += 4) add_four(sums, values, terms + done, whole);
  for (; done < term_count; ++done)
    add_one(sums, values[terms[done].index], terms[done].weight, whole);
  for (std::size_t t = 0; t < term_count; ++t) {
    const Term& term = terms[t];
    for (std::size_t i = whole; i < columns; ++i) {
      float value;
      __builtin_memcpy(&value, values[term.index] + i * 4, sizeof value);
      sums[i] += static_cast<double>(value) * term.weight;
    }
  }
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < columns; ++i) {
    bad |= (sums[i] - sums[i]) != 0;  // NaN for what is not finite
    out[i] = static_cast<float>(sums[i] / divisor) + 0.0F;
  }
  return bad == 0;
}

constexpr Kernels kTable = {
    .load = load,
    .load_wide = load_wide,
    .sort = sort,
    .mean_of_rows = mean_of_rows,
    .mean_around_median = mean_around_median,
    .gram = gram,
    .mix = mix,
    .mix_groups = mix_groups,
    .weighted_sum = weighted_sum,
};

}  // namespace
}  // namespace mh::robust::MH_ROBUST_TARGET

#undef MH_INLINE
