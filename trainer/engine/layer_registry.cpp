// The table of layer kinds that the engine can compute. A new kind is a file in layers/, a line
// here and its description in trainer/model/layers/.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

constexpr std::array<std::pair<std::string_view, LayerFactory>, 12> kFactories = {{
    {"avg_pool", make_avg_pool},
    {"conv2d", make_conv2d},
    {"dropout", make_dropout},
    {"embedding", make_embedding},
    {"flatten", make_flatten},
    {"gelu", make_gelu},
    {"group_norm", make_group_norm},
    {"layer_norm", make_layer_norm},
    {"linear", make_linear},
    {"max_pool", make_max_pool},
    {"relu", make_relu},
    {"tanh", make_tanh},
}};

}  // namespace

std::unique_ptr<LayerModule> make_layer_module(const model::LayerPlan& layer,
                                               std::uint64_t layer_index, bool channels_last) {
  const auto* found = std::find_if(kFactories.begin(), kFactories.end(),
                                   [&](const auto& entry) { return entry.first == layer.kind; });
  if (found == kFactories.end()) return nullptr;
  return found->second(layer, LayerPlace{layer_index, channels_last});
}

}  // namespace mh::engine
