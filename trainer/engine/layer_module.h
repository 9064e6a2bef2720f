// One layer of a model at work: forward, and the gradient written out by hand from ATen operators.
//
// Torch-only header, private to trainer/engine. There is no autograd graph: each layer keeps what
// its own backward pass needs between forward() and backward() of one micro-batch and drops it
// afterwards. That is faster than the graph, keeps the headers narrow, and makes the order of every
// floating-point addition visible here.
//
// The registry (layer_registry.cpp) maps the name of a layer kind to its factory; each kind is one
// file in layers/. Threads: a module belongs to one Engine and is used by one thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>

#include "trainer/model/model_plan.h"

namespace mh::engine {

/// What a layer may know about the micro-batch it is working on.
struct BatchContext {
  /// Job seed: the key of dropout masks.
  std::uint64_t job_seed = 0;
  /// Position in the sample stream of row 0; row i is at first_position + i. Unused in evaluation.
  std::uint64_t first_position = 0;
  /// True in a gradient workunit: backward() follows and dropout is on.
  bool is_training = false;
};

/// A layer with its parameters. Values are bound once by bind(); the engine rewrites them in place.
class LayerModule {
 public:
  virtual ~LayerModule() = default;

  /// Called whenever new parameters have arrived, before the next forward(): `parameters` in plan
  /// order, each with the shape of its ParameterSpec, contiguous, valid until the next call. A
  /// layer that wants another memory format copies here, once, instead of in every micro-batch.
  virtual void load(std::span<const at::Tensor> parameters) { (void)parameters; }

  /// The layer's output for `input`, whose first dimension is the micro-batch.
  virtual at::Tensor forward(const at::Tensor& input, const BatchContext& context) = 0;

  /// Adds the gradients of the parameters to `gradients` (same order and shapes as load()) and
  /// returns the gradient of the input, or an undefined tensor if that is not wanted. Requires:
  /// forward() in training mode just before.
  virtual at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                              std::span<at::Tensor> gradients) = 0;
};

/// The module of one layer of a plan. `layer_index` is its place in the model file (key of dropout
/// masks). Returns null for a kind that the engine does not know.
std::unique_ptr<LayerModule> make_layer_module(const model::LayerPlan& layer,
                                               std::uint64_t layer_index, bool channels_last);

}  // namespace mh::engine
