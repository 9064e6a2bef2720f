// layer_norm: each row is brought to mean 0 and variance 1 over the last dimension, then scaled and
// shifted.
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class LayerNorm final : public LayerModule {
 public:
  LayerNorm(double epsilon, bool has_parameters, std::int64_t last_size)
      : epsilon_(epsilon), has_parameters_(has_parameters), normalized_sizes_{last_size} {}

  void load(std::span<const at::Tensor> parameters) override {
    if (!has_parameters_) return;
    weight_ = parameters[0];
    bias_ = parameters[1];
  }

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor rows = input.contiguous();
    auto [output, mean, reciprocal] =
        at::native_layer_norm(rows, normalized_sizes_, weight_, bias_, epsilon_);
    if (context.is_training) {
      rows_ = rows;
      mean_ = mean;
      reciprocal_ = reciprocal;
    }
    return output;
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> gradients) override {
    at::Tensor rows = std::move(rows_);
    auto [input_gradient, weight_gradient, bias_gradient] = at::native_layer_norm_backward(
        output_gradient.contiguous(), rows, normalized_sizes_, mean_, reciprocal_, weight_, bias_,
        {input_gradient_wanted, has_parameters_, has_parameters_});
    if (has_parameters_) {
      gradients[0].add_(weight_gradient);
      gradients[1].add_(bias_gradient);
    }
    return input_gradient;
  }

 private:
  const double epsilon_;
  const bool has_parameters_;
  const std::array<std::int64_t, 1> normalized_sizes_;
  std::optional<at::Tensor> weight_;
  std::optional<at::Tensor> bias_;
  at::Tensor rows_;
  at::Tensor mean_;
  at::Tensor reciprocal_;
};

}  // namespace

std::unique_ptr<LayerModule> make_layer_norm(const model::LayerPlan& layer, const LayerPlace&) {
  return std::make_unique<LayerNorm>(layer.real("epsilon"), layer.parameter_tensors > 0,
                                     layer.input_shape.back());
}

}  // namespace mh::engine
