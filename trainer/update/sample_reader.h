// Reads samples from the chunks of a data set: memory maps found by digest in a folder, converted
// to what a model eats (normalised floats, row numbers of an embedding, class numbers).
//
// Flow: manifest + chunk folder (the daemon's cache, or `dataset import --to-dir`) -> SampleReader
// -> trainer/engine. Chunks come from other computers: size, and if asked for the digest, are
// checked when a chunk is first used, every class number whenever it is read. Threads: one at a
// time; the first use of a chunk reads the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/file.h"
#include "proto/base/result.h"

namespace mh::update {

/// What to check when a chunk is first used. Its size is always checked.
enum class ChunkCheck {
  kSize,
  /// Also its SHA-256: for folders that nobody has checked yet.
  kDigest,
};

/// One split of a data set. The manifest must have passed parse_manifest().
class SplitReader {
 public:
  /// Looks at no chunk yet. Errors: kNotFound when the manifest has no such split.
  static Result<SplitReader> open(const DatasetManifest& manifest, std::string_view split,
                                  std::filesystem::path chunk_dir, ChunkCheck check);

  /// Samples; and numbers in one input and one target.
  std::uint64_t count() const { return split_.count; }
  std::uint64_t input_elements() const { return input_.element_count(); }
  std::uint64_t target_elements() const { return target_.element_count(); }

  // Each writes its samples one after another, in the order of `samples`; `out` holds exactly
  // samples.size() × elements (else MH_CHECK fails).
  // Errors: kOutOfRange for a sample number not below count(); kNotFound, kDataLoss for a chunk
  // that is missing or damaged; kInvalidArgument for a value out of range.

  /// Inputs as floats; `normalize`: (value - mean) × (1 / std) in fp32, by channel.
  Status gather_inputs(std::span<const std::uint64_t> samples, bool normalize,
                       std::span<float> out);
  /// Whole-number inputs, each in [0, limit).
  Status gather_input_indices(std::span<const std::uint64_t> samples, std::int64_t limit,
                              std::span<std::int64_t> out);
  /// Targets as class numbers, each in [0, class_count).
  Status gather_classes(std::span<const std::uint64_t> samples, std::int64_t class_count,
                        std::span<std::int64_t> out);
  /// Targets as floats.
  Status gather_targets(std::span<const std::uint64_t> samples, std::span<float> out);

 private:
  /// Bytes of one sample's input and target.
  struct SampleBytes {
    const std::byte* input = nullptr;
    const std::byte* target = nullptr;
  };
  SplitReader() = default;
  Result<SampleBytes> find(std::uint64_t sample);
  Status map_chunk(std::size_t chunk);
  Status gather_integers(std::span<const std::uint64_t> samples, bool of_inputs, std::int64_t limit,
                         std::span<std::int64_t> out);

  std::string name_;
  SampleTensor input_;
  SampleTensor target_;
  SplitInfo split_;
  std::filesystem::path chunk_dir_;
  ChunkCheck check_ = ChunkCheck::kSize;
  /// Subtracted, then multiplied; one a channel.
  std::vector<float> mean_;
  std::vector<float> scale_;
  /// By index of the chunk; empty until used.
  std::vector<MappedFile> maps_;
  std::size_t map_count_ = 0;
};

/// A folder written by `manyhands dataset import --to-dir`: manifest.json, and chunks named by
/// digest.
struct DataFolder {
  DatasetManifest manifest;
  /// Of manifest.json as it stands.
  Digest manifest_digest;
  std::filesystem::path chunk_dir;
};

/// Errors: kNotFound, kInvalidArgument (malformed manifest), naming the file.
Result<DataFolder> open_data_folder(const std::filesystem::path& folder);

}  // namespace mh::update
