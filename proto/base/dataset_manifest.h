// The manifest of a data set: what a sample looks like, how many there are, and the digest of every
// chunk that holds them. Canonical JSON, format "manyhands-dataset/1" (docs/file-formats.md).
//
// Flow: client/cli/import writes it -> the server stores it as a blob and registers its name ->
// daemons fetch the chunks it names -> trainer/update/sample_reader reads samples from them.
// A chunk is the inputs of its samples (packed, C order, little-endian), then their targets.
// Pure; no threads. Every manifest that parse_manifest() returns satisfies check_manifest().
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh {

/// Limits of a manifest; what is beyond them is refused.
inline constexpr std::uint64_t kManifestBytesMax = 16U << 20;
inline constexpr std::uint64_t kChunkBytesMax = 64U << 20;
inline constexpr std::uint64_t kDatasetSamplesMax = 1'000'000'000'000;
inline constexpr std::size_t kSampleRankMax = 8;
inline constexpr std::uint64_t kClassCountMax = 1'000'000;
inline constexpr std::size_t kClassNameBytesMax = 256;

/// Type of the numbers in a chunk. The names are persistent: "u8", "i32", "i64", "f32".
enum class DataType { kU8, kI32, kI64, kF32 };

std::string_view data_type_name(DataType dtype);
std::optional<DataType> data_type_from_name(std::string_view name);
/// Bytes of one number: 1, 4, 8, 4.
std::uint64_t data_type_bytes(DataType dtype);
/// True for all but f32.
bool is_integer(DataType dtype);

/// Type and shape of one sample's input or target; an empty shape is a single number.
struct SampleTensor {
  DataType dtype = DataType::kU8;
  std::vector<std::int64_t> shape;

  /// Numbers, and bytes, in one sample. Requires: a checked shape.
  std::uint64_t element_count() const;
  std::uint64_t bytes() const;
  bool operator==(const SampleTensor&) const = default;
};

/// One chunk: a blob.
struct ChunkInfo {
  Digest digest;
  std::uint64_t bytes = 0;
  /// Samples in it.
  std::uint64_t count = 0;

  bool operator==(const ChunkInfo&) const = default;
};

/// Where a sample lies.
struct SamplePlace {
  /// Index into SplitInfo::chunks, and of the sample within that chunk.
  std::size_t chunk = 0;
  std::uint64_t index = 0;
};

/// One split ("train", "val", "test").
struct SplitInfo {
  /// Samples; at least 1.
  std::uint64_t count = 0;
  /// Targets of each class; empty when targets are not classes.
  std::vector<std::uint64_t> class_counts;
  /// In the order of the samples; all but the last hold the same count.
  std::vector<ChunkInfo> chunks;

  /// Requires: sample < count.
  SamplePlace place_of(std::uint64_t sample) const;
  bool operator==(const SplitInfo&) const = default;
};

/// (value - mean) / std brings the train split's inputs to mean 0 and deviation 1. One value a
/// channel (first dimension) for inputs of rank 3, else one for all.
struct Normalization {
  std::vector<double> mean;
  /// Above 0; 1 for a channel that is constant.
  std::vector<double> std;

  bool operator==(const Normalization&) const = default;
};

struct DatasetManifest {
  SampleTensor input;
  SampleTensor target;
  /// Targets are below it; 0 when targets are not classes.
  std::uint64_t class_count = 0;
  /// One a class, or none.
  std::vector<std::string> class_names;
  Normalization normalization;
  /// By name; "train" is always there, "val" and "test" may be.
  std::map<std::string, SplitInfo, std::less<>> splits;

  /// Bytes of one sample: input and target.
  std::uint64_t sample_bytes() const { return input.bytes() + target.bytes(); }
  /// Values in normalization.mean and .std.
  std::size_t channel_count() const;
  /// The split, or nullptr.
  const SplitInfo* find_split(std::string_view name) const;
  /// Bytes of all chunks.
  std::uint64_t chunk_bytes() const;
  /// Digests of all chunks without repetition, in the order train, val, test.
  std::vector<Digest> chunk_digests() const;
  bool operator==(const DatasetManifest&) const = default;
};

/// The splits that may be, in the order in which they are written.
inline constexpr std::string_view kSplitNames[] = {"train", "val", "test"};

/// Every rule of a manifest. Errors: kInvalidArgument "splits.train.chunks[3].bytes: 12, but …".
Status check_manifest(const DatasetManifest& manifest);

/// Reads hostile text: size, nesting and every value are checked; unknown and repeated keys are
/// errors. Errors: kInvalidArgument with the path of the key, what was found, what is allowed.
Result<DatasetManifest> parse_manifest(std::string_view json);

/// Canonical JSON in one line: fixed order of keys; equal manifests give equal bytes.
/// Requires: check_manifest() passes.
std::string to_json(const DatasetManifest& manifest);

}  // namespace mh
