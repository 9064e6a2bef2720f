// The factory of every layer kind that the engine knows, one function a file of this folder.
#pragma once

#include "trainer/engine/layer_module.h"

namespace mh::engine {

/// What a factory is told besides the layer's plan.
struct LayerPlace {
  /// Index of the layer in the model (part of the key of dropout masks).
  std::uint64_t layer_index = 0;
  /// True where images are kept with channels last (the CPU, where it is faster).
  bool channels_last = false;
};

using LayerFactory = std::unique_ptr<LayerModule> (*)(const model::LayerPlan&, const LayerPlace&);

std::unique_ptr<LayerModule> make_avg_pool(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_conv2d(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_dropout(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_embedding(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_flatten(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_gelu(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_group_norm(const model::LayerPlan& layer,
                                             const LayerPlace& place);
std::unique_ptr<LayerModule> make_layer_norm(const model::LayerPlan& layer,
                                             const LayerPlace& place);
std::unique_ptr<LayerModule> make_linear(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_max_pool(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_relu(const model::LayerPlan& layer, const LayerPlace& place);
std::unique_ptr<LayerModule> make_tanh(const model::LayerPlan& layer, const LayerPlace& place);

}  // namespace mh::engine
