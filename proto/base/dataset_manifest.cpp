// The rules of a manifest and the small sums over it; reading and writing:
// dataset_manifest_json.cpp.
#include "proto/base/dataset_manifest.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "proto/base/check.h"

namespace mh {
namespace {

/// Most elements of one sample: below it, bytes of a sample cannot overflow.
constexpr std::uint64_t kSampleElementsMax = kChunkBytesMax;

Error bad(const std::string& path, const std::string& what) {
  return fail(Errc::kInvalidArgument, "manifest: " + path + ": " + what);
}

Status check_tensor(const SampleTensor& tensor, const std::string& name) {
  if (tensor.shape.size() > kSampleRankMax) {
    return bad(name + ".shape", std::to_string(tensor.shape.size()) + " dimensions, limit is " +
                                    std::to_string(kSampleRankMax));
  }
  std::uint64_t elements = 1;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    const std::int64_t size = tensor.shape[i];
    const std::string path = name + ".shape[" + std::to_string(i) + "]";
    if (size < 1) return bad(path, std::to_string(size) + ", must be at least 1");
    if (static_cast<std::uint64_t>(size) > kSampleElementsMax / elements) {
      return bad(path, "a sample may have at most " + std::to_string(kSampleElementsMax) +
                           " numbers, " + std::to_string(elements) + " × " + std::to_string(size) +
                           " are more");
    }
    elements *= static_cast<std::uint64_t>(size);
  }
  return {};
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Status check_classes(const DatasetManifest& manifest) {
  if (manifest.class_count > kClassCountMax) {
    return bad("class_count", std::to_string(manifest.class_count) + ", limit is " +
                                  std::to_string(kClassCountMax));
  }
  if (manifest.class_count > 0 && !is_integer(manifest.target.dtype)) {
    return bad("class_count", "targets of dtype f32 are not classes; 0 is needed");
  }
  if (!manifest.class_names.empty() && manifest.class_names.size() != manifest.class_count) {
    return bad("class_names", std::to_string(manifest.class_names.size()) + " names for " +
                                  std::to_string(manifest.class_count) + " classes");
  }
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < manifest.class_names.size(); ++i) {
    const std::string& name = manifest.class_names[i];
    const std::string path = "class_names[" + std::to_string(i) + "]";
    if (name.empty() || name.size() > kClassNameBytesMax) {
      return bad(path, std::to_string(name.size()) + " bytes, allowed are 1 to " +
                           std::to_string(kClassNameBytesMax));
    }
    if (has_control_character(name)) return bad(path, "holds a control character");
    if (!seen.insert(name).second) return bad(path, "'" + name + "' stands there twice");
  }
  return {};
}

Status check_normalization(const DatasetManifest& manifest) {
  const std::size_t channels = manifest.channel_count();
  const auto check = [&](const std::vector<double>& values, const std::string& name,
                         bool above_zero) -> Status {
    const std::string path = "normalization." + name;
    if (values.size() != channels) {
      return bad(path, std::to_string(values.size()) + " values, the inputs have " +
                           std::to_string(channels) + (channels == 1 ? " channel" : " channels"));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::string place = path + "[" + std::to_string(i) + "]";
      if (!std::isfinite(values[i]) || std::abs(values[i]) > 1e30)
        return bad(place, "out of range");
      if (above_zero && values[i] < 1e-30) return bad(place, "must be above 0");
    }
    return {};
  };
  MH_TRY_VOID(check(manifest.normalization.mean, "mean", false));
  return check(manifest.normalization.std, "std", true);
}

Status check_chunks(const SplitInfo& split, const std::string& path, std::uint64_t sample_bytes) {
  std::uint64_t rest = split.count;
  for (std::size_t i = 0; i < split.chunks.size(); ++i) {
    const ChunkInfo& chunk = split.chunks[i];
    const std::string place = path + ".chunks[" + std::to_string(i) + "]";
    if (chunk.count < 1 || chunk.count > rest) {
      return bad(place + ".count", std::to_string(chunk.count) + ", allowed are 1 to " +
                                       std::to_string(rest) + " (samples left of the split's " +
                                       std::to_string(split.count) + ")");
    }
    const bool is_last = i + 1 == split.chunks.size();
    const std::uint64_t common = split.chunks.front().count;
    if (is_last ? chunk.count > common : chunk.count != common) {
      return bad(place + ".count", std::to_string(chunk.count) + ", all chunks but the last hold " +
                                       std::to_string(common));
    }
    if (chunk.count > kChunkBytesMax / sample_bytes) {
      return bad(place + ".count",
                 std::to_string(chunk.count) + " samples of " + std::to_string(sample_bytes) +
                     " bytes; limit of a chunk is " + std::to_string(kChunkBytesMax) + " bytes");
    }
    if (chunk.bytes != chunk.count * sample_bytes) {
      return bad(place + ".bytes", std::to_string(chunk.bytes) + ", " +
                                       std::to_string(chunk.count) + " samples of " +
                                       std::to_string(sample_bytes) + " bytes are " +
                                       std::to_string(chunk.count * sample_bytes));
    }
    rest -= chunk.count;
  }
  if (rest != 0) {
    return bad(path + ".chunks", "they hold " + std::to_string(split.count - rest) +
                                     " samples, the split has " + std::to_string(split.count));
  }
  return {};
}

Status check_split(const DatasetManifest& manifest, const std::string& name,
                   const SplitInfo& split) {
  const std::string path = "splits." + name;
  if (std::find(std::begin(kSplitNames), std::end(kSplitNames), name) == std::end(kSplitNames)) {
    return bad(path, "unknown split; allowed are train, val, test");
  }
  if (split.count < 1 || split.count > kDatasetSamplesMax) {
    return bad(path + ".count", std::to_string(split.count) + ", allowed are 1 to " +
                                    std::to_string(kDatasetSamplesMax));
  }
  MH_TRY_VOID(check_chunks(split, path, manifest.sample_bytes()));
  if (split.class_counts.size() != manifest.class_count) {
    return bad(path + ".class_counts", std::to_string(split.class_counts.size()) + " counts for " +
                                           std::to_string(manifest.class_count) + " classes");
  }
  if (manifest.class_count == 0) return {};
  const std::uint64_t targets = split.count * manifest.target.element_count();
  std::uint64_t rest = targets;
  for (const std::uint64_t count : split.class_counts) {
    if (count > rest) rest = UINT64_MAX;
    if (rest != UINT64_MAX) rest -= count;
  }
  if (rest != 0) {
    return bad(path + ".class_counts",
               "do not add up to the " + std::to_string(targets) + " targets");
  }
  return {};
}

}  // namespace

std::string_view data_type_name(DataType dtype) {
  switch (dtype) {
    case DataType::kU8:
      return "u8";
    case DataType::kI32:
      return "i32";
    case DataType::kI64:
      return "i64";
    case DataType::kF32:
      return "f32";
  }
  return "unknown";
}

std::optional<DataType> data_type_from_name(std::string_view name) {
  for (const DataType dtype : {DataType::kU8, DataType::kI32, DataType::kI64, DataType::kF32}) {
    if (data_type_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::uint64_t data_type_bytes(DataType dtype) {
  return dtype == DataType::kU8 ? 1 : dtype == DataType::kI64 ? 8 : 4;
}

bool is_integer(DataType dtype) { return dtype != DataType::kF32; }

std::uint64_t SampleTensor::element_count() const {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

std::uint64_t SampleTensor::bytes() const { return element_count() * data_type_bytes(dtype); }

SamplePlace SplitInfo::place_of(std::uint64_t sample) const {
  MH_CHECK(sample < count);
  const std::uint64_t common = chunks.front().count;
  return {static_cast<std::size_t>(sample / common), sample % common};
}

std::size_t DatasetManifest::channel_count() const {
  return input.shape.size() == 3 ? static_cast<std::size_t>(input.shape[0]) : 1;
}

const SplitInfo* DatasetManifest::find_split(std::string_view name) const {
  const auto found = splits.find(name);
  return found == splits.end() ? nullptr : &found->second;
}

std::uint64_t DatasetManifest::chunk_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, split] : splits) {
    for (const ChunkInfo& chunk : split.chunks) bytes += chunk.bytes;
  }
  return bytes;
}

std::vector<Digest> DatasetManifest::chunk_digests() const {
  std::vector<Digest> digests;
  std::set<Digest> seen;
  for (const std::string_view name : kSplitNames) {
    const SplitInfo* split = find_split(name);
    if (split == nullptr) continue;
    for (const ChunkInfo& chunk : split->chunks) {
      if (seen.insert(chunk.digest).second) digests.push_back(chunk.digest);
    }
  }
  return digests;
}

Status check_manifest(const DatasetManifest& manifest) {
  MH_TRY_VOID(check_tensor(manifest.input, "input"));
  MH_TRY_VOID(check_tensor(manifest.target, "target"));
  if (manifest.sample_bytes() > kChunkBytesMax) {
    return bad("input.shape", "a sample has " + std::to_string(manifest.sample_bytes()) +
                                  " bytes, limit is " + std::to_string(kChunkBytesMax));
  }
  MH_TRY_VOID(check_classes(manifest));
  MH_TRY_VOID(check_normalization(manifest));
  if (manifest.find_split("train") == nullptr) return bad("splits.train", "is missing");
  for (const auto& [name, split] : manifest.splits) MH_TRY_VOID(check_split(manifest, name, split));
  return {};
}

}  // namespace mh
