// linear: y = x w^T + b over the last dimension; dw = dy^T x, db = sum of dy over rows, dx = dy w.
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Linear final : public LayerModule {
 public:
  explicit Linear(bool has_bias) : has_bias_(has_bias) {}

  void load(std::span<const at::Tensor> parameters) override {
    weight_ = parameters[0];
    if (has_bias_) bias_ = parameters[1];
  }

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    input_sizes_ = input.sizes().vec();
    at::Tensor rows = input.contiguous().view({-1, weight_.size(1)});
    if (context.is_training) rows_ = rows;
    at::Tensor output = has_bias_ ? at::addmm(bias_, rows, weight_.t()) : at::mm(rows, weight_.t());
    std::vector<std::int64_t> sizes = input_sizes_;
    sizes.back() = weight_.size(0);
    return output.view(sizes);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> gradients) override {
    at::Tensor rows = std::move(rows_);
    const at::Tensor row_gradient = output_gradient.contiguous().view({-1, weight_.size(0)});
    gradients[0].add_(at::mm(row_gradient.t(), rows));
    if (has_bias_) gradients[1].add_(at::sum(row_gradient, 0));
    if (!input_gradient_wanted) return {};
    return at::mm(row_gradient, weight_).view(input_sizes_);
  }

 private:
  const bool has_bias_;
  at::Tensor weight_;
  at::Tensor bias_;
  at::Tensor rows_;
  std::vector<std::int64_t> input_sizes_;
};

}  // namespace

std::unique_ptr<LayerModule> make_linear(const model::LayerPlan& layer, const LayerPlace&) {
  return std::make_unique<Linear>(layer.flag("bias"));
}

}  // namespace mh::engine
