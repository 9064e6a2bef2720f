// Writing and reading model files; see safetensors.h.
#include "trainer/update/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/strict_json.h"
#include "proto/base/utf8.h"

namespace mh::update {
namespace {

using Json = nlohmann::json;

/// Header, tensor, shape.
constexpr int kHeaderDepthMax = 3;
/// Names of tensors may be as long as the header.
constexpr std::size_t kComplaintBytesMax = 500;

Error bad(const std::string& what) {
  return fail(Errc::kInvalidArgument, "not a safetensors file that can be read here: " +
                                          plain_text(what, kComplaintBytesMax));
}

/// Number of elements of `shape`, or an error for sizes that are negative or multiply to more than
/// a file can hold.
Result<std::uint64_t> count_of(const Json& shape, const std::string& name, model::Shape& out) {
  if (!shape.is_array() || shape.size() > model::kRankMax) return bad("shape of " + name);
  std::uint64_t count = 1;
  for (const Json& size : shape) {
    if (!size.is_number_unsigned()) return bad("shape of " + name);
    const auto value = size.get<std::uint64_t>();
    if (value > static_cast<std::uint64_t>(model::kParameterCountMax))
      return bad("shape of " + name);
    out.push_back(static_cast<std::int64_t>(value));
    count *= value;
    if (count > static_cast<std::uint64_t>(model::kParameterCountMax))
      return bad("shape of " + name);
  }
  return count;
}

Result<model::ParameterSpec> tensor_of(const std::string& name, const Json& entry) {
  const Json dtype = entry.is_object() ? entry.value("dtype", Json()) : Json();
  if (dtype != "F32") {
    const std::string what = dtype.is_string() ? dtype.get<std::string>() : "missing";
    return bad("dtype of " + name + " is " + what + ", not F32");
  }
  model::ParameterSpec tensor;
  tensor.name = name;
  MH_TRY(tensor.count, count_of(entry.value("shape", Json()), name, tensor.shape));
  const Json offsets = entry.value("data_offsets", Json());
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return bad("data_offsets of " + name);
  }
  const auto begin = offsets[0].get<std::uint64_t>();
  const auto end = offsets[1].get<std::uint64_t>();
  if (begin % 4 != 0 || end < begin || end - begin != tensor.count * 4) {
    return bad("data_offsets of " + name + " do not fit its shape");
  }
  tensor.offset = begin / 4;
  return tensor;
}

}  // namespace

std::string safetensors_head(std::span<const model::ParameterSpec> parameters,
                             const TextByKey& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const model::ParameterSpec& parameter : parameters) {
    header[parameter.name] = {
        {"dtype", "F32"},
        {"shape", parameter.shape},
        {"data_offsets", {parameter.offset * 4, (parameter.offset + parameter.count) * 4}}};
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string head(8, '\0');
  store_le<std::uint64_t>(reinterpret_cast<std::byte*>(head.data()), text.size());
  return head + text;
}

Result<SafetensorsView> view_safetensors(std::span<const std::byte> file) {
  if (file.size() < 8) return bad("it has " + std::to_string(file.size()) + " bytes");
  const auto header_bytes = load_le<std::uint64_t>(file.data());
  if (header_bytes > kSafetensorsHeaderBytesMax || header_bytes > file.size() - 8) {
    return bad("a header of " + std::to_string(header_bytes) + " bytes is announced in a file of " +
               std::to_string(file.size()));
  }
  const std::string_view text = as_text(file.subspan(8, static_cast<std::size_t>(header_bytes)));
  Json header;
  const Status parsed =
      parse_strict_json(text, kSafetensorsHeaderBytesMax, kHeaderDepthMax, header);
  if (!parsed) return bad(parsed.error().message);
  if (!header.is_object()) return bad("the header is no JSON object");
  SafetensorsView view;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      MH_TRY(model::ParameterSpec tensor, tensor_of(name, entry));
      view.parameters.push_back(std::move(tensor));
      continue;
    }
    if (!entry.is_object()) return bad("__metadata__");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) return bad("__metadata__." + key);
      view.metadata[key] = value.get<std::string>();
    }
  }
  std::sort(view.parameters.begin(), view.parameters.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.count) < std::pair(b.offset, b.count);
  });
  std::uint64_t next = 0;
  for (const model::ParameterSpec& tensor : view.parameters) {
    if (tensor.offset != next) return bad("a hole or overlap before " + tensor.name);
    next += tensor.count;
  }
  view.values = file.subspan(8 + static_cast<std::size_t>(header_bytes));
  if (view.values.size() != next * 4) {
    return bad("tensors take " + std::to_string(next * 4) + " bytes, the file has " +
               std::to_string(view.values.size()));
  }
  return view;
}

}  // namespace mh::update
