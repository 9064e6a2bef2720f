// The safetensors format, for models that leave and enter Manyhands: u64 little-endian N, N bytes
// of JSON header, data.
//
// The header maps each tensor's name to {"dtype", "shape", "data_offsets": [begin, end)} relative
// to the data, and "__metadata__" to texts by key. Tensors lie one after another without holes. We
// write and read F32 only. The reader checks size, order, bounds and full coverage before it
// touches data. Pure; no threads, no torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "trainer/model/model_plan.h"

namespace mh::update {

/// Longest header accepted (the reference reader takes 100 MB).
inline constexpr std::uint64_t kSafetensorsHeaderBytesMax = 16U << 20;

using TextByKey = std::map<std::string, std::string>;

/// Everything before the data of a model file: length and header, padded with spaces to a multiple
/// of 8. The file is this, then the flat fp32 vector as it is.
std::string safetensors_head(std::span<const model::ParameterSpec> parameters,
                             const TextByKey& metadata);

/// A model file taken apart; `values` points into the file's bytes.
struct SafetensorsView {
  /// Name, shape, offset and count of each tensor, in the order of the data; `init` is unused.
  std::vector<model::ParameterSpec> parameters;
  TextByKey metadata;
  /// The flat fp32 vector, not necessarily aligned: little-endian bytes.
  std::span<const std::byte> values;
};

/// Errors: kInvalidArgument, naming the tensor and what is wrong with it.
Result<SafetensorsView> view_safetensors(std::span<const std::byte> file);

}  // namespace mh::update
