// relu: y = max(x, 0); dx = dy where y > 0.
#include <ATen/ops/relu.h>
#include <ATen/ops/threshold_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Relu final : public LayerModule {
 public:
  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor output = at::relu(input);
    if (context.is_training) output_ = output;
    return output;
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor output = std::move(output_);
    if (!input_gradient_wanted) return {};
    return at::threshold_backward(output_gradient, output, 0);
  }

 private:
  at::Tensor output_;
};

}  // namespace

std::unique_ptr<LayerModule> make_relu(const model::LayerPlan&, const LayerPlace&) {
  return std::make_unique<Relu>();
}

}  // namespace mh::engine
