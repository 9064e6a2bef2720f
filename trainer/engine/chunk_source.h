// Samples of one split, read from memory-mapped chunk files: the SampleSource of serve, reference,
// predict and evaluate. A thin adaptor of trainer/update/sample_reader, which checks chunks and
// values. Threads: one at a time, although reads are const (chunks are mapped when they are first
// used).
#pragma once

#include <filesystem>
#include <string_view>

#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"
#include "trainer/engine/sample_source.h"
#include "trainer/update/sample_reader.h"

namespace mh::engine {

class ChunkSource final : public SampleSource {
 public:
  /// Looks at no chunk yet. `normalize`: float inputs are brought to mean 0 and deviation 1.
  /// Errors: kNotFound when the manifest has no such split.
  static Result<ChunkSource> open(const DatasetManifest& manifest, std::string_view split,
                                  std::filesystem::path chunk_dir, bool normalize,
                                  update::ChunkCheck check);

  std::uint64_t count() const override { return reader_.count(); }
  /// Numbers in one target.
  std::uint64_t target_elements() const { return reader_.target_elements(); }

  // Errors, besides those of SampleSource: kDataLoss for a damaged chunk; kInvalidArgument where
  // `out` has another length than the data set's samples.
  Result<void> read_input(std::uint64_t index, std::span<float> out) const override;
  Result<void> read_input(std::uint64_t index, std::span<std::int64_t> out,
                          std::int64_t limit) const override;
  Result<void> read_target(std::uint64_t index, std::span<std::int64_t> out,
                           std::int64_t class_count) const override;
  Result<void> read_target(std::uint64_t index, std::span<float> out) const override;

 private:
  ChunkSource(update::SplitReader reader, bool normalize)
      : reader_(std::move(reader)), normalize_(normalize) {}

  /// Maps chunks as they are needed.
  mutable update::SplitReader reader_;
  bool normalize_;
};

}  // namespace mh::engine
