#include "trainer/robust/passes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <new>
#include <thread>

#include "proto/base/check.h"
#include "trainer/robust/network.h"
#include "trainer/update/aggregate.h"

namespace mh::robust {
namespace {

/// Columns that a thread takes at a time in passes without sums over columns.
constexpr std::size_t kChunkColumns = 65'536;
constexpr std::size_t kTileColumnsMax = 512;
constexpr std::size_t kAlignment = 64;
/// Parts of a mean that need no allocation.
constexpr std::size_t kPartsAtOnce = 64;

std::size_t rounded_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Columns of a tile of `rows` rows.
std::size_t tile_columns(std::size_t rows, std::size_t element_bytes, std::size_t tile_bytes) {
  const std::size_t columns = tile_bytes / (rows * element_bytes);
  return std::clamp(columns / 16 * 16, std::size_t{16}, kTileColumnsMax);
}

template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t count) : storage_(count + kAlignment / sizeof(T)) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    data_ = storage_.data() + (rounded_up(address, kAlignment) - address) / sizeof(T);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() { return data_; }

 private:
  std::vector<T> storage_;  // zeros
  T* data_;
};

/// Calls work(0), …, work(count - 1), each once, from up to `threads` threads; `worker()` makes one
/// for each thread. Stops early and returns false when one returns false.
template <class MakeWorker>
bool share_out(std::size_t count, unsigned threads, const MakeWorker& make_worker) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> is_good = true;
  const auto run = [&] {
    auto work = make_worker();
    for (std::size_t i = next++; i < count && is_good; i = next++) {
      if (!work(i)) is_good = false;
    }
  };
  const std::size_t more = std::min<std::size_t>(std::max(threads, 1U), count);
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < more; ++i) others.emplace_back(run);
  run();
  others.clear();
  return is_good;
}

/// Sums the inner products of one band at a time.
class GramWorker {
 public:
  GramWorker(const Columns& columns, std::optional<std::size_t> reference,
             const PassOptions& options, std::vector<double>& bands)
      : columns_(columns),
        reference_(reference),
        kernels_(*options.kernels),
        rows_(rounded_up(columns.vectors.size(), kLaneRows)),
        width_(tile_columns(rows_, sizeof(double), 4 * options.tile_bytes)),
        bands_(bands),
        lanes_(rows_ * rows_ * kPartialSums),
        tile_(rows_ * width_),
        room_(width_),
        reference_room_(width_) {}

  bool operator()(std::size_t band) {
    const std::size_t band_columns = rounded_up((columns_.count + kBands - 1) / kBands, 64);
    const std::size_t begin = std::min(band * band_columns, columns_.count);
    const std::size_t end = std::min(begin + band_columns, columns_.count);
    std::fill(lanes_.begin(), lanes_.end(), 0.0);
    for (std::size_t at = begin; at < end; at += width_) {
      const std::size_t count = std::min(width_, end - at);
      if (!load(at, count)) return false;
      kernels_.gram(tile_.data(), rows_, width_, rounded_up(count, kLaneColumns), lanes_.data());
    }
    add_partial_sums(band);
    return true;
  }

 private:
  void add_partial_sums(std::size_t band) {
    const std::size_t count = columns_.vectors.size();
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = i; j < count; ++j) {
        const double* part = lanes_.data() + (i * rows_ + j) * kPartialSums;
        bands_[(band * count + i) * count + j] = (part[0] + part[1]) + (part[2] + part[3]);
      }
    }
  }

  bool load(std::size_t at, std::size_t count) {
    const std::byte* reference =
        reference_ ? values_at(columns_.vectors[*reference_], at, count, reference_room_.data())
                   : nullptr;
    bool is_good = true;
    for (std::size_t row = 0; row < columns_.vectors.size(); ++row) {
      const std::byte* less = reference_ == row ? nullptr : reference;
      const std::byte* values = values_at(columns_.vectors[row], at, count, room_.data());
      is_good &= kernels_.load_wide(values, less, count, tile_.data() + row * width_);
    }
    return is_good;
  }

  const Columns& columns_;
  const std::optional<std::size_t> reference_;
  const Kernels& kernels_;
  const std::size_t rows_;
  const std::size_t width_;
  /// kBands × n × n; each call writes the part of its band.
  std::vector<double>& bands_;
  std::vector<double> lanes_;
  Buffer<double> tile_;
  Buffer<float> room_;
  Buffer<float> reference_room_;
};

/// A mix of equal weights as sums over groups of rows; see GroupedMix. No groups: there is none, or
/// it would be more work than the mix itself.
struct Groups {
  std::size_t count = 0;
  std::vector<std::uint16_t> entries;
  std::vector<double> weights;
};

Groups groups_of(const Mix& mix, std::size_t vectors) {
  Groups groups;
  const std::size_t count = rounded_up(vectors, kGroupRows) / kGroupRows;
  std::size_t terms = 0;
  for (const std::vector<Term>& row : mix) {
    terms += row.size();
    const bool is_even = std::all_of(row.begin(), row.end(), [&](const Term& term) {
      return term.weight == row.front().weight;
    });
    if (!is_even) return groups;
  }
  if (terms <= (mix.size() + kGroupSums) * count) return groups;
  groups.count = count;
  groups.entries.resize(mix.size() * count);
  for (std::size_t i = 0; i < mix.size(); ++i) {
    groups.weights.push_back(mix[i].empty() ? 0 : mix[i].front().weight);
    for (const Term& term : mix[i])
      groups.entries[i * count + term.index / kGroupRows] |=
          static_cast<std::uint16_t>(kGroupColumns << (term.index % kGroupRows));
  }
  return groups;
}

/// Loads, mixes, sorts and averages one chunk of columns at a time.
class ColumnWorker {
 public:
  ColumnWorker(const Columns& columns, const Mix& mix, const ColumnRule& rule,
               const std::vector<Comparator>& network, std::span<float> out,
               const PassOptions& options)
      : columns_(columns),
        mix_(mix),
        rule_(rule),
        network_(network),
        out_(out),
        kernels_(*options.kernels),
        rows_(mix.empty() ? columns.vectors.size() : mix.size()),
        groups_(groups_of(mix, columns.vectors.size())),
        width_(tile_columns(std::max(rows_, columns.vectors.size()), sizeof(float),
                            mix.empty() ? options.tile_bytes : options.tile_bytes / 2)),
        tile_(rows_ * width_),
        wide_(mix.empty() || groups_.count > 0 ? 0 : columns.vectors.size() * width_),
        narrow_(groups_.count * kGroupRows * width_),
        table_(groups_.count * kGroupSums * kGroupColumns),
        result_(width_),
        room_(width_) {}

  bool operator()(std::size_t chunk) {
    const std::size_t begin = chunk * kChunkColumns;
    const std::size_t end = std::min(begin + kChunkColumns, columns_.count);
    for (std::size_t at = begin; at < end; at += width_) {
      const std::size_t count = std::min(width_, end - at);
      if (!(mix_.empty() ? load(at, count) : load_and_mix(at, count))) return false;
      reduce(rounded_up(count, kLaneColumns));
      std::copy_n(result_.data(), count, out_.data() + at);
    }
    return true;
  }

 private:
  bool load(std::size_t at, std::size_t count) {
    bool is_good = true;
    for (std::size_t row = 0; row < rows_; ++row) {
      const std::byte* values = values_at(columns_.vectors[row], at, count, room_.data());
      is_good &= kernels_.load(values, count, tile_.data() + row * width_);
    }
    return is_good;
  }

  bool load_and_mix(std::size_t at, std::size_t count) {
    const std::size_t padded = rounded_up(count, kLaneColumns);
    bool is_good = true;
    for (std::size_t row = 0; row < columns_.vectors.size(); ++row) {
      const std::byte* values = values_at(columns_.vectors[row], at, count, room_.data());
      is_good &= groups_.count > 0
                     ? kernels_.load(values, count, narrow_.data() + row * width_)
                     : kernels_.load_wide(values, nullptr, count, wide_.data() + row * width_);
    }
    if (groups_.count > 0) {
      const GroupedMix grouped = {.groups = groups_.count,
                                  .entries = groups_.entries.data(),
                                  .weights = groups_.weights.data(),
                                  .rows = rows_};
      kernels_.mix_groups(narrow_.data(), width_, padded, grouped, table_.data(), tile_.data());
      return is_good;
    }
    for (std::size_t row = 0; row < rows_; ++row) {
      kernels_.mix(wide_.data(), width_, padded, mix_[row].data(), mix_[row].size(),
                   tile_.data() + row * width_);
    }
    return is_good;
  }

  void reduce(std::size_t padded) {
    kernels_.sort(tile_.data(), width_, padded, network_.data(), network_.size());
    if (rule_.keep > 0) {
      kernels_.mean_around_median(tile_.data(), width_, padded, rows_, rule_.keep, result_.data());
    } else {
      kernels_.mean_of_rows(tile_.data(), width_, padded, rule_.first, rule_.last, result_.data());
    }
  }

  const Columns& columns_;
  const Mix& mix_;
  const ColumnRule& rule_;
  const std::vector<Comparator>& network_;
  const std::span<float> out_;
  const Kernels& kernels_;
  const std::size_t rows_;
  const Groups groups_;
  const std::size_t width_;
  Buffer<float> tile_;
  /// What is mixed: as doubles, or, in groups, as it is.
  Buffer<double> wide_;
  Buffer<float> narrow_;
  Buffer<double> table_;
  Buffer<float> result_;
  Buffer<float> room_;
};

std::size_t chunks_of(std::size_t count) { return (count + kChunkColumns - 1) / kChunkColumns; }

}  // namespace

std::optional<std::vector<double>> inner_products(const Columns& columns,
                                                  std::optional<std::size_t> reference,
                                                  const PassOptions& options) {
  const std::size_t count = columns.vectors.size();
  std::vector<double> bands(kBands * count * count, 0.0);
  const auto make_worker = [&] { return GramWorker(columns, reference, options, bands); };
  if (!share_out(kBands, options.threads, make_worker)) return std::nullopt;
  std::vector<double> products(count * count, 0.0);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i; j < count; ++j) {
      double sum = 0;
      for (std::size_t band = 0; band < kBands; ++band)
        sum += bands[(band * count + i) * count + j];
      products[i * count + j] = products[j * count + i] = sum;
    }
  }
  return products;
}

bool weighted_sum(const Columns& columns, std::span<const Term> terms, double divisor,
                  std::span<float> out, const PassOptions& options) {
  const std::size_t count = columns.vectors.size();
  const bool has_means = std::any_of(columns.vectors.begin(), columns.vectors.end(),
                                     [](const Vector& vector) { return vector.is_mean(); });
  const auto make_worker = [&] {
    return [&, at_tile = std::vector<const std::byte*>(count),
            room = std::vector<float>(has_means ? count * kSumColumns : 0)](
               std::size_t chunk) mutable {
      const std::size_t end = std::min((chunk + 1) * kChunkColumns, columns.count);
      for (std::size_t at = chunk * kChunkColumns; at < end; at += kSumColumns) {
        const std::size_t width = std::min(kSumColumns, end - at);
        for (const Term& term : terms) {
          float* space = has_means ? room.data() + term.index * kSumColumns : nullptr;
          at_tile[term.index] = values_at(columns.vectors[term.index], at, width, space);
        }
        if (!options.kernels->weighted_sum(at_tile.data(), width, terms.data(), terms.size(),
                                           divisor, out.data() + at))
          return false;
      }
      return true;
    };
  };
  return share_out(chunks_of(columns.count), options.threads, make_worker);
}

bool coordinate_wise(const Columns& columns, const Mix& mix, const ColumnRule& rule,
                     std::span<float> out, const PassOptions& options) {
  const std::size_t rows = mix.empty() ? columns.vectors.size() : mix.size();
  const std::vector<Comparator> network =
      rule.keep > 0 ? sorting_network(rows, 0, rows) : sorting_network(rows, rule.first, rule.last);
  const auto make_worker = [&] { return ColumnWorker(columns, mix, rule, network, out, options); };
  return share_out(chunks_of(columns.count), options.threads, make_worker);
}

const std::byte* values_at(const Vector& vector, std::size_t begin, std::size_t count,
                           float* room) {
  if (!vector.is_mean()) return vector.parts.front() + begin * sizeof(float);
  std::array<std::span<const float>, kPartsAtOnce> few;
  std::vector<std::span<const float>> many;
  std::span<std::span<const float>> parts = std::span(few).first(0);
  if (vector.parts.size() <= few.size()) {
    parts = std::span(few).first(vector.parts.size());
  } else {
    many.resize(vector.parts.size());
    parts = many;
  }
  for (std::size_t i = 0; i < parts.size(); ++i)
    parts[i] = {reinterpret_cast<const float*>(vector.parts[i]) + begin, count};
  const std::span<float> out(room, count);
  MH_CHECK(update::mean_gradient({}, parts, vector.divisor, out).has_value());
  return std::as_bytes(out).data();
}

std::optional<std::size_t> first_not_finite(const Vector& vector, std::size_t count) {
  std::vector<float> room(vector.is_mean() ? kSumColumns : 0);
  for (std::size_t begin = 0; begin < count; begin += kSumColumns) {
    const std::size_t width = std::min(kSumColumns, count - begin);
    const std::byte* values = values_at(vector, begin, width, room.data());
    for (std::size_t i = 0; i < width; ++i) {
      float value = 0;
      std::memcpy(&value, values + i * sizeof value, sizeof value);
      if (!std::isfinite(value)) return begin + i;
    }
  }
  return std::nullopt;
}

}  // namespace mh::robust
