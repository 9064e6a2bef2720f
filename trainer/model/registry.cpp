// The table of layer kinds. A new kind is a file in layers/ and two lines here; see layer_kind.h.
#include <algorithm>
#include <array>

#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"

namespace mh::model {

std::span<const LayerKind* const> layer_kinds() {
  static const std::array<const LayerKind*, 12> kinds = {
      &avg_pool_kind(), &conv2d_kind(),   &dropout_kind(),    &embedding_kind(),
      &flatten_kind(),  &gelu_kind(),     &group_norm_kind(), &layer_norm_kind(),
      &linear_kind(),   &max_pool_kind(), &relu_kind(),       &tanh_kind(),
  };
  return kinds;
}

const LayerKind* find_layer_kind(std::string_view name) {
  const auto kinds = layer_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const LayerKind* kind) { return kind->name == name; });
  return found == kinds.end() ? nullptr : *found;
}

std::vector<std::string_view> layer_kind_names() {
  std::vector<std::string_view> names;
  for (const LayerKind* kind : layer_kinds()) names.push_back(kind->name);
  return names;
}

}  // namespace mh::model
