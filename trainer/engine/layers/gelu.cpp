// gelu: y = x Phi(x) with the exact error function (torch's approximate="none").
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Gelu final : public LayerModule {
 public:
  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    if (context.is_training) input_ = input;
    return at::gelu(input);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor input = std::move(input_);
    if (!input_gradient_wanted) return {};
    return at::gelu_backward(output_gradient, input);
  }

 private:
  at::Tensor input_;
};

}  // namespace

std::unique_ptr<LayerModule> make_gelu(const model::LayerPlan&, const LayerPlace&) {
  return std::make_unique<Gelu>();
}

}  // namespace mh::engine
