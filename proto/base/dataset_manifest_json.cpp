// A manifest to and from JSON; see dataset_manifest.h. The rules themselves are in
// dataset_manifest.cpp; here only types, unknown keys and missing keys are looked at.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "proto/base/dataset_manifest.h"
#include "proto/base/strict_json.h"
#include "proto/base/utf8.h"

namespace mh {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kFormat = "manyhands-dataset/1";
constexpr int kManifestDepthMax = 8;

/// Reads values by path and keeps the first error; after one, every answer is empty.
class Reader {
 public:
  const std::string& error() const { return error_; }

  void complain(const std::string& path, const std::string& what) {
    if (error_.empty()) error_ = (path.empty() ? "" : path + ": ") + what;
  }

  /// An object that holds exactly `keys`.
  bool object(const Json& value, const std::string& path,
              std::initializer_list<std::string_view> keys) {
    if (!value.is_object()) return mismatch(value, path, "an object");
    for (const auto& [key, unused] : value.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        complain(join(path, plain_text(key, 64)), "unknown key; allowed are " + listed(keys));
        return false;
      }
    }
    for (const std::string_view key : keys) {
      if (!value.contains(key)) {
        complain(join(path, std::string(key)), "is missing");
        return false;
      }
    }
    return true;
  }

  bool array(const Json& value, const std::string& path) {
    return value.is_array() || mismatch(value, path, "an array");
  }

  std::string text(const Json& value, const std::string& path) {
    if (value.is_string()) return value.get<std::string>();
    mismatch(value, path, "a text");
    return {};
  }

  std::uint64_t number(const Json& value, const std::string& path) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    mismatch(value, path, "a whole number from 0");
    return 0;
  }

  double real(const Json& value, const std::string& path) {
    if (value.is_number()) return value.get<double>();
    mismatch(value, path, "a number");
    return 0;
  }

  static std::string join(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
  }

 private:
  static std::string listed(std::initializer_list<std::string_view> keys) {
    std::string text;
    for (const std::string_view key : keys) text += (text.empty() ? "" : ", ") + std::string(key);
    return text;
  }

  bool mismatch(const Json& value, const std::string& path, const std::string& wanted) {
    complain(path, std::string("is ") + value.type_name() + ", must be " + wanted);
    return false;
  }

  std::string error_;
};

SampleTensor read_tensor(Reader& reader, const Json& value, const std::string& path) {
  SampleTensor tensor;
  if (!reader.object(value, path, {"dtype", "shape"})) return tensor;
  const std::string dtype = reader.text(value["dtype"], path + ".dtype");
  if (const auto known = data_type_from_name(dtype)) {
    tensor.dtype = *known;
  } else {
    const std::string found = plain_text(dtype, 32);
    reader.complain(path + ".dtype", '\'' + found + "', allowed are u8, i32, i64, f32");
  }
  const Json& shape = value["shape"];
  if (!reader.array(shape, path + ".shape")) return tensor;
  for (const Json& size : shape) {
    const std::uint64_t number = reader.number(size, path + ".shape");
    tensor.shape.push_back(static_cast<std::int64_t>(std::min<std::uint64_t>(number, INT64_MAX)));
    if (tensor.shape.size() > kSampleRankMax) break;
  }
  return tensor;
}

std::vector<double> read_reals(Reader& reader, const Json& value, const std::string& path) {
  std::vector<double> numbers;
  if (!reader.array(value, path)) return numbers;
  for (const Json& number : value) numbers.push_back(reader.real(number, path));
  return numbers;
}

ChunkInfo read_chunk(Reader& reader, const Json& value, const std::string& path) {
  ChunkInfo chunk;
  if (!reader.object(value, path, {"digest", "bytes", "count"})) return chunk;
  const Result<Digest> digest = Digest::from_hex(reader.text(value["digest"], path + ".digest"));
  if (digest) {
    chunk.digest = *digest;
  } else {
    reader.complain(path + ".digest", "must be 64 lower-case hex digits");
  }
  chunk.bytes = reader.number(value["bytes"], path + ".bytes");
  chunk.count = reader.number(value["count"], path + ".count");
  return chunk;
}

SplitInfo read_split(Reader& reader, const Json& value, const std::string& path) {
  SplitInfo split;
  if (!reader.object(value, path, {"count", "class_counts", "chunks"})) return split;
  split.count = reader.number(value["count"], path + ".count");
  const Json& counts = value["class_counts"];
  const Json& chunks = value["chunks"];
  if (!reader.array(counts, path + ".class_counts") || !reader.array(chunks, path + ".chunks")) {
    return split;
  }
  for (const Json& count : counts) {
    split.class_counts.push_back(reader.number(count, path + ".class_counts"));
  }
  for (const Json& chunk : chunks) {
    if (!reader.error().empty()) break;
    const std::string place = path + ".chunks[" + std::to_string(split.chunks.size()) + "]";
    split.chunks.push_back(read_chunk(reader, chunk, place));
  }
  return split;
}

DatasetManifest read_manifest(Reader& reader, const Json& root) {
  DatasetManifest manifest;
  if (!root.is_object() || root.value("format", Json()) != Json(kFormat)) {
    reader.complain("format",
                    "must be '" + std::string(kFormat) + "': this is another kind of file");
    return manifest;
  }
  if (!reader.object(
          root, "",
          {"format", "input", "target", "class_count", "class_names", "normalization", "splits"})) {
    return manifest;
  }
  manifest.input = read_tensor(reader, root["input"], "input");
  manifest.target = read_tensor(reader, root["target"], "target");
  manifest.class_count = reader.number(root["class_count"], "class_count");
  if (reader.array(root["class_names"], "class_names")) {
    for (const Json& name : root["class_names"]) {
      manifest.class_names.push_back(reader.text(name, "class_names"));
    }
  }
  const Json& normalization = root["normalization"];
  if (reader.object(normalization, "normalization", {"mean", "std"})) {
    manifest.normalization.mean = read_reals(reader, normalization["mean"], "normalization.mean");
    manifest.normalization.std = read_reals(reader, normalization["std"], "normalization.std");
  }
  const Json& splits = root["splits"];
  if (!splits.is_object()) reader.complain("splits", "must be an object");
  for (const auto& [name, split] : splits.items()) {
    if (!reader.error().empty()) break;
    manifest.splits[name] = read_split(reader, split, "splits." + plain_text(name, 32));
  }
  return manifest;
}

OrderedJson tensor_json(const SampleTensor& tensor) {
  return {{"dtype", data_type_name(tensor.dtype)}, {"shape", tensor.shape}};
}

OrderedJson split_json(const SplitInfo& split) {
  OrderedJson chunks = OrderedJson::array();
  for (const ChunkInfo& chunk : split.chunks) {
    chunks.push_back(
        {{"digest", chunk.digest.hex()}, {"bytes", chunk.bytes}, {"count", chunk.count}});
  }
  return {
      {"count", split.count}, {"class_counts", split.class_counts}, {"chunks", std::move(chunks)}};
}

}  // namespace

Result<DatasetManifest> parse_manifest(std::string_view json) {
  Json root;
  const Status parsed = parse_strict_json(json, kManifestBytesMax, kManifestDepthMax, root);
  if (!parsed) return fail(parsed.error().code, "manifest: " + parsed.error().message);
  Reader reader;
  DatasetManifest manifest = read_manifest(reader, root);
  if (!reader.error().empty()) {
    return fail(Errc::kInvalidArgument, "manifest: " + reader.error());
  }
  MH_TRY_VOID(check_manifest(manifest));
  return manifest;
}

std::string to_json(const DatasetManifest& manifest) {
  OrderedJson root;
  root["format"] = kFormat;
  root["input"] = tensor_json(manifest.input);
  root["target"] = tensor_json(manifest.target);
  root["class_count"] = manifest.class_count;
  root["class_names"] = manifest.class_names;
  root["normalization"] = {{"mean", manifest.normalization.mean},
                           {"std", manifest.normalization.std}};
  root["splits"] = OrderedJson::object();
  for (const std::string_view name : kSplitNames) {
    if (const SplitInfo* split = manifest.find_split(name)) {
      root["splits"][std::string(name)] = split_json(*split);
    }
  }
  return root.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace mh
