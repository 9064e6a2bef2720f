// tanh: y = tanh(x); dx = dy (1 - y^2).
#include <ATen/ops/tanh.h>
#include <ATen/ops/tanh_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Tanh final : public LayerModule {
 public:
  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor output = at::tanh(input);
    if (context.is_training) output_ = output;
    return output;
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor output = std::move(output_);
    if (!input_gradient_wanted) return {};
    return at::tanh_backward(output_gradient, output);
  }

 private:
  at::Tensor output_;
};

}  // namespace

std::unique_ptr<LayerModule> make_tanh(const model::LayerPlan&, const LayerPlace&) {
  return std::make_unique<Tanh>();
}

}  // namespace mh::engine
