// Sums over samples; see statistics.h.
#include "client/cli/import/statistics.h"

#include <cmath>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh::cli {
namespace {

double number_at(DataType dtype, const std::byte* bytes, std::size_t index) {
  switch (dtype) {
    case DataType::kU8:
      return std::to_integer<std::uint8_t>(bytes[index]);
    case DataType::kI32:
      return load_le<std::int32_t>(bytes + 4 * index);
    case DataType::kI64:
      return static_cast<double>(load_le<std::int64_t>(bytes + 8 * index));
    case DataType::kF32:
      return load_le<float>(bytes + 4 * index);
  }
  return 0;
}

std::int64_t integer_at(DataType dtype, const std::byte* bytes, std::size_t index) {
  if (dtype == DataType::kU8) return std::to_integer<std::uint8_t>(bytes[index]);
  if (dtype == DataType::kI32) return load_le<std::int32_t>(bytes + 4 * index);
  return load_le<std::int64_t>(bytes + 8 * index);
}

}  // namespace

InputStatistics::InputStatistics(const SampleTensor& input, std::size_t channel_count)
    : dtype_(input.dtype),
      channel_elements_(input.element_count() / channel_count),
      channels_(channel_count) {}

void InputStatistics::add(std::span<const std::byte> input) {
  const std::size_t channel_bytes = channel_elements_ * data_type_bytes(dtype_);
  MH_CHECK(input.size() == channels_.size() * channel_bytes);
  const auto count = static_cast<double>(channel_elements_);
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    Channel& channel = channels_[c];
    const std::byte* bytes = input.data() + c * channel_bytes;
    if (dtype_ == DataType::kU8) {
      std::uint64_t sum = 0;
      std::uint64_t squares = 0;
      for (std::size_t i = 0; i < channel_elements_; ++i) {
        const auto value = std::to_integer<std::uint32_t>(bytes[i]);
        sum += value;
        squares += value * value;
      }
      channel.sum += sum;
      channel.squares += squares;
      continue;
    }
    // This sample's mean and squares around it, then joined with those of the samples before
    // (Chan, Golub and LeVeque): no cancellation, whatever the offset of the values.
    double sum = 0;
    for (std::size_t i = 0; i < channel_elements_; ++i) sum += number_at(dtype_, bytes, i);
    const double mean = sum / count;
    double squares = 0;
    for (std::size_t i = 0; i < channel_elements_; ++i) {
      const double difference = number_at(dtype_, bytes, i) - mean;
      squares += difference * difference;
    }
    const double before = static_cast<double>(samples_) * count;
    const double gap = mean - channel.mean;
    channel.mean += gap * (count / (before + count));
    channel.deviation_squares += squares + gap * gap * (before * count / (before + count));
  }
  ++samples_;
}

Normalization InputStatistics::finish() const {
  MH_CHECK(samples_ > 0);
  Normalization normalization;
  const double count = static_cast<double>(samples_) * static_cast<double>(channel_elements_);
  for (const Channel& channel : channels_) {
    double mean = channel.mean;
    double variance = channel.deviation_squares / count;
    if (dtype_ == DataType::kU8) {
      mean = static_cast<double>(channel.sum) / count;
      variance = static_cast<double>(channel.squares) / count - mean * mean;
    }
    const double deviation = variance > 0 ? std::sqrt(variance) : 0;
    normalization.mean.push_back(mean);
    // Below the resolution of the values themselves there is only rounding.
    const bool is_constant = deviation <= 1e-10 * std::abs(mean) || deviation < 1e-30;
    normalization.std.push_back(is_constant ? 1 : deviation);
  }
  return normalization;
}

std::size_t first_not_finite(std::span<const std::byte> floats) {
  const std::size_t count = floats.size() / sizeof(float);
  std::size_t index = 0;
  while (index < count && std::isfinite(load_le<float>(floats.data() + 4 * index))) ++index;
  return index;
}

Status count_classes(DataType dtype, std::span<const std::byte> target, std::uint64_t class_limit,
                     std::vector<std::uint64_t>& counts) {
  const std::size_t elements = target.size() / data_type_bytes(dtype);
  for (std::size_t i = 0; i < elements; ++i) {
    const std::int64_t value = integer_at(dtype, target.data(), i);
    if (value < 0 || static_cast<std::uint64_t>(value) >= class_limit) {
      return fail(Errc::kInvalidArgument, "target is " + std::to_string(value) +
                                              ", classes are numbered 0 to " +
                                              std::to_string(class_limit - 1));
    }
    const auto index = static_cast<std::size_t>(value);
    if (index >= counts.size()) counts.resize(index + 1);
    ++counts[index];
  }
  return {};
}

}  // namespace mh::cli
