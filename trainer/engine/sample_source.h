// Where the engine gets samples from: raw values of one sample at a time, by number.
//
// Torch-free. The trainer process reads them from memory-mapped chunks (chunk_source.h), the
// benchmark makes them up. Threads: read by one thread at a time.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/result.h"

namespace mh::engine {

/// Samples of one split, converted to what the model eats.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  /// Number of samples.
  virtual std::uint64_t count() const = 0;

  /// Writes sample `index`'s input as floats (normalised if the job says so). `out` holds the
  /// plan's input size. Errors: kInvalidArgument for an index out of range, kNotFound for data that
  /// is missing.
  virtual Result<void> read_input(std::uint64_t index, std::span<float> out) const = 0;
  /// The same for inputs that are numbers of rows of an embedding; each must be below `limit`.
  virtual Result<void> read_input(std::uint64_t index, std::span<std::int64_t> out,
                                  std::int64_t limit) const = 0;

  /// Writes the targets as class numbers, each checked to be below `class_count`.
  virtual Result<void> read_target(std::uint64_t index, std::span<std::int64_t> out,
                                   std::int64_t class_count) const = 0;
  /// Writes the targets as floats.
  virtual Result<void> read_target(std::uint64_t index, std::span<float> out) const = 0;
};

}  // namespace mh::engine
