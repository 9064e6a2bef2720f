// Sums of updates in shard order; see aggregate.h.
#include "trainer/update/aggregate.h"

#include <algorithm>
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

void divide(const double* __restrict sum, double divisor, float* __restrict out,
            std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(sum[i] / divisor);
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
  divide(sum_.data(), static_cast<double>(total_samples), out.data(), out.size());
}

void GradientAccumulator::reset() {
  std::fill(sum_.begin(), sum_.end(), 0.0);
  next_shard_ = 0;
}

Status mean_gradient(std::span<const std::span<const float>> shards, std::uint64_t total_samples,
                     std::span<float> out) {
  MH_CHECK(total_samples > 0);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (shards[i].size() != out.size()) {
      return fail(Errc::kInvalidArgument, "shard " + std::to_string(i) + " has " +
                                              std::to_string(shards[i].size()) +
                                              " elements, expected " + std::to_string(out.size()));
    }
  }
  double tile[kTileElements];
  for (std::size_t begin = 0; begin < out.size(); begin += kTileElements) {
    const std::size_t count = std::min(kTileElements, out.size() - begin);
    std::fill_n(tile, count, 0.0);
    for (const std::span<const float> shard : shards) add_to(tile, shard.data() + begin, count);
    divide(tile, static_cast<double>(total_samples), out.data() + begin, count);
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
