// One walk through all files of an import, in order: reads sample after sample, checks that files
// fit together, and sends each sample to its split. Flow: array_file -> sample_walk -> import.cpp
// (statistics, chunks). Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/cli/import/import.h"
#include "proto/base/dataset_manifest.h"
#include "proto/base/random.h"
#include "proto/base/result.h"

namespace mh::cli {

/// Splits of a train file by cuts: a function of (seed, sample count, cuts) alone.
class SplitChooser {
 public:
  /// Errors: kInvalidArgument when a cut would be empty, or nothing would be left to train on.
  static Result<SplitChooser> make(std::uint64_t sample_count, const std::vector<SplitCut>& cuts,
                                   std::uint64_t seed);
  /// "train", or the split of the cut that took it.
  std::string_view split_of(std::uint64_t sample) const;

 private:
  struct Share {
    std::string split;
    std::uint64_t end = 0;
  };
  SplitChooser(std::uint64_t sample_count, std::uint64_t seed);
  Permutation permutation_;
  /// Cuts take the first places of the permutation, one after another.
  std::vector<Share> shares_;
};

/// What a walk shows its visitor.
class SampleVisitor {
 public:
  virtual ~SampleVisitor() = default;
  /// Once, before the first sample: what all files hold.
  virtual Status begin(const SampleTensor& input, const SampleTensor& target) = 0;
  /// Bytes are valid during the call. Errors are returned from the walk, with the file's name and
  /// the sample's number in front.
  virtual Status sample(std::string_view split, std::span<const std::byte> input,
                        std::span<const std::byte> target) = 0;
};

/// Errors: of files (array_file.h), of files that do not fit together, of options that contradict
/// each other, and the visitor's.
Status walk_samples(const ImportOptions& options, SampleVisitor& visitor);

}  // namespace mh::cli
