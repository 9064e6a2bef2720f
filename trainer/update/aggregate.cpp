// Sums of updates in shard order; see aggregate.h.
#include "trainer/update/aggregate.h"

#include <algorithm>
#include <bit>
#include <string>

#include "proto/base/check.h"
#include "trainer/update/tensor_pack.h"

namespace mh::update {
namespace {

/// 32 KiB of doubles: stays in the first-level cache beside a tile of floats.
constexpr std::size_t kTileElements = 2'048;

void add_to(double* __restrict sum, const float* __restrict values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) sum[i] += static_cast<double>(values[i]);
}

// Four shards for one load and one store of the sum; each is added by itself, in order.
void add_four_to(double* __restrict sum, const float* __restrict a, const float* __restrict b,
                 const float* __restrict c, const float* __restrict d, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const double with_a = sum[i] + static_cast<double>(a[i]);
    const double with_b = with_a + static_cast<double>(b[i]);
    const double with_c = with_b + static_cast<double>(c[i]);
    sum[i] = with_c + static_cast<double>(d[i]);
  }
}

void add_tile(double* sum, Shards shards, std::size_t begin, std::size_t count) {
  std::size_t shard = 0;
  for (; shard + 4 <= shards.size(); shard += 4) {
    add_four_to(sum, shards[shard].data() + begin, shards[shard + 1].data() + begin,
                shards[shard + 2].data() + begin, shards[shard + 3].data() + begin, count);
  }
  for (; shard < shards.size(); ++shard) add_to(sum, shards[shard].data() + begin, count);
}

Status check_sizes(Shards shards, std::size_t element_count) {
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (shards[i].size() == element_count) continue;
    return fail(Errc::kInvalidArgument, "shard " + std::to_string(i) + " has " +
                                            std::to_string(shards[i].size()) +
                                            " elements, expected " + std::to_string(element_count));
  }
  return {};
}

// By a power of two, as most batches are, the product with the inverse has the same bits: both are
// the one double nearest to the same number, and a product takes a fraction of the time.
void divide(const double* __restrict sum, std::uint64_t divisor, float* __restrict out,
            std::size_t count) {
  const auto by = static_cast<double>(divisor);
  if (std::has_single_bit(divisor)) {
    const double inverse = 1 / by;
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(sum[i] * inverse);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(sum[i] / by);
}

}  // namespace

GradientAccumulator::GradientAccumulator(std::uint64_t element_count) : sum_(element_count, 0.0) {}

Status GradientAccumulator::add(std::uint64_t shard_index, std::span<const float> gradient_sum) {
  if (shard_index != next_shard_) {
    return fail(Errc::kFailedPrecondition, "shard " + std::to_string(shard_index) +
                                               " cannot be added: shard " +
                                               std::to_string(next_shard_) + " is next");
  }
  if (gradient_sum.size() != sum_.size()) {
    return fail(Errc::kInvalidArgument, "shard " + std::to_string(shard_index) + " has " +
                                            std::to_string(gradient_sum.size()) +
                                            " elements, expected " + std::to_string(sum_.size()));
  }
  add_to(sum_.data(), gradient_sum.data(), sum_.size());
  ++next_shard_;
  return {};
}

void GradientAccumulator::mean(std::uint64_t total_samples, std::span<float> out) const {
  MH_CHECK(total_samples > 0 && out.size() == sum_.size());
  divide(sum_.data(), total_samples, out.data(), out.size());
}

void GradientAccumulator::reset() {
  std::fill(sum_.begin(), sum_.end(), 0.0);
  next_shard_ = 0;
}

Status add_shards(std::span<double> sum, Shards shards, bool is_first) {
  MH_TRY_VOID(check_sizes(shards, sum.size()));
  for (std::size_t begin = 0; begin < sum.size(); begin += kTileElements) {
    const std::size_t count = std::min(kTileElements, sum.size() - begin);
    double* tile = sum.data() + begin;
    if (is_first) std::fill_n(tile, count, 0.0);
    add_tile(tile, shards, begin, count);
  }
  return {};
}

Status mean_gradient(std::span<const double> sum, Shards shards, std::uint64_t total_samples,
                     std::span<float> out) {
  MH_CHECK(total_samples > 0 && (sum.empty() || sum.size() == out.size()));
  MH_TRY_VOID(check_sizes(shards, out.size()));
  double tile[kTileElements];
  for (std::size_t begin = 0; begin < out.size(); begin += kTileElements) {
    const std::size_t count = std::min(kTileElements, out.size() - begin);
    if (sum.empty()) {
      std::fill_n(tile, count, 0.0);
    } else {
      std::copy_n(sum.data() + begin, count, tile);
    }
    add_tile(tile, shards, begin, count);
    divide(tile, total_samples, out.data() + begin, count);
  }
  return {};
}

double clip_by_global_norm(std::span<float> gradient, double norm_max) {
  const double norm = l2_norm(gradient);
  if (norm_max <= 0) return norm;
  const double scale = norm_max / (norm + 1e-6);
  if (scale >= 1) return norm;
  const auto factor = static_cast<float>(scale);
  for (float& value : gradient) value *= factor;
  return norm;
}

}  // namespace mh::update
