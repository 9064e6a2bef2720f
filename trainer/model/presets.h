// Presets: well-known models in a few settings, written out as layers before anything else looks at
// them.
//
// Each ends in a linear layer without `out`, so that it fits any number of classes. Pure; no
// threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/model/model_spec.h"

namespace mh::model {

/// Multi-layer perceptron: flatten, then for each hidden size linear, activation and (p > 0)
/// dropout, then linear.
struct MlpPreset {
  /// Sizes of the hidden layers; may be empty (a linear classifier).
  std::vector<std::int64_t> hidden = {128};
  /// "relu", "gelu" or "tanh".
  std::string activation = "relu";
  double dropout = 0;
};
std::vector<LayerSpec> mlp_layers(const MlpPreset& preset);

/// Small convolutional network for images: for each entry of `channels` conv2d, relu and a 2×2
/// max_pool; then flatten, linear, relu, (p > 0) dropout, linear. The defaults on 28×28 images with
/// 10 classes have 80,202 parameters.
struct CnnPreset {
  std::vector<std::int64_t> channels = {16, 32};
  std::int64_t kernel = 5;
  std::int64_t padding = 0;
  std::int64_t hidden = 128;
  double dropout = 0;
};
std::vector<LayerSpec> cnn_layers(const CnnPreset& preset);

}  // namespace mh::model
