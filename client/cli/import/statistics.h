// What the manifest says about values: mean and deviation by channel, counts by class.
// Flow: import.cpp shows every sample of a split, in order. Deterministic: bytes are summed as
// integers, other numbers in double in the order of the file. Pure; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"

namespace mh::cli {

/// Mean and standard deviation (of the population) of inputs.
class InputStatistics {
 public:
  InputStatistics(const SampleTensor& input, std::size_t channel_count);
  void add(std::span<const std::byte> input);
  /// Requires: at least one sample. A constant channel has deviation 1.
  Normalization finish() const;

 private:
  /// Sums of one channel; of bytes the exact ones, else a running mean with the squares around it.
  struct Channel {
    std::uint64_t sum = 0;
    std::uint64_t squares = 0;
    double mean = 0;
    double deviation_squares = 0;
  };
  DataType dtype_;
  std::size_t channel_elements_;
  std::vector<Channel> channels_;
  std::uint64_t samples_ = 0;
};

/// Index of the first number that is NaN or infinite, or the number of them if none is.
std::size_t first_not_finite(std::span<const std::byte> floats);

/// Adds one sample's class numbers to `counts`, which grows as needed up to `class_limit`.
/// Errors: kInvalidArgument with the value and the limit.
Status count_classes(DataType dtype, std::span<const std::byte> target, std::uint64_t class_limit,
                     std::vector<std::uint64_t>& counts);

}  // namespace mh::cli
