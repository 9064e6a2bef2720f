// Presets written out; see presets.h.
#include "trainer/model/presets.h"

#include <utility>

#include "proto/base/check.h"
#include "trainer/model/layer_kind.h"

namespace mh::model {
namespace {

void add(std::vector<LayerSpec>& layers, std::string kind, Settings settings = {}) {
  const LayerKind* known = find_layer_kind(kind);
  MH_CHECK(known != nullptr);
  fill_defaults(*known, settings);
  layers.push_back({std::move(kind), std::move(settings)});
}

}  // namespace

std::vector<LayerSpec> mlp_layers(const MlpPreset& preset) {
  std::vector<LayerSpec> layers;
  add(layers, "flatten");
  for (const std::int64_t size : preset.hidden) {
    add(layers, "linear", {{"out", size}});
    add(layers, preset.activation);
    if (preset.dropout > 0) add(layers, "dropout", {{"p", preset.dropout}});
  }
  add(layers, "linear");
  return layers;
}

std::vector<LayerSpec> cnn_layers(const CnnPreset& preset) {
  std::vector<LayerSpec> layers;
  for (const std::int64_t channels : preset.channels) {
    add(layers, "conv2d",
        {{"out", channels}, {"kernel", preset.kernel}, {"padding", preset.padding}});
    add(layers, "relu");
    add(layers, "max_pool", {{"kernel", std::int64_t{2}}});
  }
  add(layers, "flatten");
  add(layers, "linear", {{"out", preset.hidden}});
  add(layers, "relu");
  if (preset.dropout > 0) add(layers, "dropout", {{"p", preset.dropout}});
  add(layers, "linear");
  return layers;
}

}  // namespace mh::model
