// Gathering of samples from memory-mapped chunks; see sample_reader.h.
#include "trainer/update/sample_reader.h"

#include <cstring>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh::update {
namespace {

/// Chunks mapped at a time; past it all are let go (a process may have some 65,000 maps).
constexpr std::size_t kMapCountMax = 4'096;

template <class T>
T number_at(const std::byte* bytes, std::size_t index) {
  return load_le<T>(bytes + index * sizeof(T));
}

template <class T>
void to_floats(const std::byte* __restrict from, std::size_t count, float* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(number_at<T>(from, i));
}

template <class T>
void to_normalized(const std::byte* __restrict from, std::size_t count, float mean, float scale,
                   float* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = (static_cast<float>(number_at<T>(from, i)) - mean) * scale;
  }
}

void convert(DataType dtype, const std::byte* from, std::size_t count, float* out) {
  switch (dtype) {
    case DataType::kU8:
      return to_floats<std::uint8_t>(from, count, out);
    case DataType::kI32:
      return to_floats<std::int32_t>(from, count, out);
    case DataType::kI64:
      return to_floats<std::int64_t>(from, count, out);
    case DataType::kF32:
      return to_floats<float>(from, count, out);
  }
}

void normalize(DataType dtype, const std::byte* from, std::size_t count, float mean, float scale,
               float* out) {
  switch (dtype) {
    case DataType::kU8:
      return to_normalized<std::uint8_t>(from, count, mean, scale, out);
    case DataType::kI32:
      return to_normalized<std::int32_t>(from, count, mean, scale, out);
    case DataType::kI64:
      return to_normalized<std::int64_t>(from, count, mean, scale, out);
    case DataType::kF32:
      return to_normalized<float>(from, count, mean, scale, out);
  }
}

std::int64_t integer_at(DataType dtype, const std::byte* bytes, std::size_t index) {
  switch (dtype) {
    case DataType::kU8:
      return number_at<std::uint8_t>(bytes, index);
    case DataType::kI32:
      return number_at<std::int32_t>(bytes, index);
    case DataType::kI64:
      return number_at<std::int64_t>(bytes, index);
    case DataType::kF32:
      break;
  }
  return -1;
}

}  // namespace

Result<SplitReader> SplitReader::open(const DatasetManifest& manifest, std::string_view split,
                                      std::filesystem::path chunk_dir, ChunkCheck check) {
  const SplitInfo* info = manifest.find_split(split);
  if (info == nullptr) {
    std::string known;
    for (const auto& [name, other] : manifest.splits) known += (known.empty() ? "" : ", ") + name;
    return fail(Errc::kNotFound,
                "the data set has no split '" + std::string(split) + "'; it has " + known);
  }
  SplitReader reader;
  reader.name_ = split;
  reader.input_ = manifest.input;
  reader.target_ = manifest.target;
  reader.split_ = *info;
  reader.chunk_dir_ = std::move(chunk_dir);
  reader.check_ = check;
  for (std::size_t i = 0; i < manifest.normalization.mean.size(); ++i) {
    reader.mean_.push_back(static_cast<float>(manifest.normalization.mean[i]));
    reader.scale_.push_back(static_cast<float>(1 / manifest.normalization.std[i]));
  }
  reader.maps_.resize(info->chunks.size());
  return reader;
}

Status SplitReader::map_chunk(std::size_t chunk) {
  if (map_count_ == kMapCountMax) {
    for (MappedFile& map : maps_) map = MappedFile();
    map_count_ = 0;
  }
  const ChunkInfo& info = split_.chunks[chunk];
  const std::filesystem::path path = chunk_dir_ / info.digest.hex();
  MH_TRY(MappedFile map, MappedFile::open(path, kChunkBytesMax));
  const std::string name =
      "chunk " + std::to_string(chunk) + " of " + name_ + " (" + path.string() + ")";
  if (map.bytes().size() != info.bytes) {
    return fail(Errc::kDataLoss, name + ": it has " + std::to_string(map.bytes().size()) +
                                     " bytes, the manifest says " + std::to_string(info.bytes));
  }
  if (check_ == ChunkCheck::kDigest && sha256(map.bytes()) != info.digest) {
    return fail(Errc::kDataLoss, name + ": its SHA-256 is not its name; fetch or import it again");
  }
  maps_[chunk] = std::move(map);
  ++map_count_;
  return {};
}

Result<SplitReader::SampleBytes> SplitReader::find(std::uint64_t sample) {
  if (sample >= split_.count) {
    return fail(Errc::kOutOfRange, "sample " + std::to_string(sample) + " of " + name_ +
                                       ": the split has " + std::to_string(split_.count));
  }
  const SamplePlace place = split_.place_of(sample);
  if (maps_[place.chunk].bytes().empty()) MH_TRY_VOID(map_chunk(place.chunk));
  const std::byte* bytes = maps_[place.chunk].bytes().data();
  const std::uint64_t targets_begin = split_.chunks[place.chunk].count * input_.bytes();
  SampleBytes found;
  found.input = bytes + place.index * input_.bytes();
  found.target = bytes + targets_begin + place.index * target_.bytes();
  return found;
}

Status SplitReader::gather_inputs(std::span<const std::uint64_t> samples, bool normalize_values,
                                  std::span<float> out) {
  const std::size_t elements = input_.element_count();
  MH_CHECK(out.size() == samples.size() * elements);
  const std::size_t channel_elements = elements / mean_.size();
  float* to = out.data();
  for (const std::uint64_t sample : samples) {
    MH_TRY(const SampleBytes bytes, find(sample));
    if (!normalize_values) {
      convert(input_.dtype, bytes.input, elements, to);
      to += elements;
      continue;
    }
    for (std::size_t channel = 0; channel < mean_.size(); ++channel) {
      const std::size_t begin = channel * channel_elements;
      normalize(input_.dtype, bytes.input + begin * data_type_bytes(input_.dtype), channel_elements,
                mean_[channel], scale_[channel], to);
      to += channel_elements;
    }
  }
  return {};
}

Status SplitReader::gather_integers(std::span<const std::uint64_t> samples, bool of_inputs,
                                    std::int64_t limit, std::span<std::int64_t> out) {
  const SampleTensor& tensor = of_inputs ? input_ : target_;
  const char* what = of_inputs ? "input" : "target";
  const std::size_t elements = tensor.element_count();
  MH_CHECK(out.size() == samples.size() * elements);
  if (!is_integer(tensor.dtype)) {
    return fail(Errc::kInvalidArgument, std::string(what) + "s are " +
                                            std::string(data_type_name(tensor.dtype)) +
                                            ", whole numbers are needed");
  }
  std::int64_t* to = out.data();
  for (const std::uint64_t sample : samples) {
    MH_TRY(const SampleBytes bytes, find(sample));
    const std::byte* from = of_inputs ? bytes.input : bytes.target;
    for (std::size_t i = 0; i < elements; ++i) {
      const std::int64_t value = integer_at(tensor.dtype, from, i);
      if (value < 0 || value >= limit) {
        return fail(Errc::kInvalidArgument, std::string(what) + " of sample " +
                                                std::to_string(sample) + " of " + name_ + " is " +
                                                std::to_string(value) + ", allowed are 0 to " +
                                                std::to_string(limit - 1));
      }
      *to++ = value;
    }
  }
  return {};
}

Status SplitReader::gather_input_indices(std::span<const std::uint64_t> samples, std::int64_t limit,
                                         std::span<std::int64_t> out) {
  return gather_integers(samples, true, limit, out);
}

Status SplitReader::gather_classes(std::span<const std::uint64_t> samples, std::int64_t class_count,
                                   std::span<std::int64_t> out) {
  return gather_integers(samples, false, class_count, out);
}

Status SplitReader::gather_targets(std::span<const std::uint64_t> samples, std::span<float> out) {
  const std::size_t elements = target_.element_count();
  MH_CHECK(out.size() == samples.size() * elements);
  float* to = out.data();
  for (const std::uint64_t sample : samples) {
    MH_TRY(const SampleBytes bytes, find(sample));
    convert(target_.dtype, bytes.target, elements, to);
    to += elements;
  }
  return {};
}

Result<DataFolder> open_data_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "manifest.json";
  MH_TRY(const std::string text, read_file(path, kManifestBytesMax));
  Result<DatasetManifest> manifest = parse_manifest(text);
  if (!manifest)
    return fail(manifest.error().code, path.string() + ": " + manifest.error().message);
  return DataFolder{std::move(*manifest), sha256(text), folder};
}

}  // namespace mh::update
