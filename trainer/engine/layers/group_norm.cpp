// group_norm: channels are cut into groups, each group of each sample is brought to mean 0 and
// variance 1, then each channel is scaled and shifted.
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/native_group_norm_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class GroupNorm final : public LayerModule {
 public:
  GroupNorm(std::int64_t groups, double epsilon, bool has_parameters)
      : groups_(groups), epsilon_(epsilon), has_parameters_(has_parameters) {}

  void load(std::span<const at::Tensor> parameters) override {
    if (!has_parameters_) return;
    weight_ = parameters[0];
    bias_ = parameters[1];
  }

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor rows = input.contiguous();
    auto [output, mean, reciprocal] = at::native_group_norm(
        rows, weight_, bias_, rows.size(0), rows.size(1), pixels_of(rows), groups_, epsilon_);
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
    auto [input_gradient, weight_gradient, bias_gradient] = at::native_group_norm_backward(
        output_gradient.contiguous(), rows, mean_, reciprocal_, weight_, rows.size(0), rows.size(1),
        pixels_of(rows), groups_, {input_gradient_wanted, has_parameters_, has_parameters_});
    if (has_parameters_) {
      gradients[0].add_(weight_gradient);
      gradients[1].add_(bias_gradient);
    }
    return input_gradient;
  }

 private:
  static std::int64_t pixels_of(const at::Tensor& rows) {
    return rows.numel() / (rows.size(0) * rows.size(1));
  }

  const std::int64_t groups_;
  const double epsilon_;
  const bool has_parameters_;
  std::optional<at::Tensor> weight_;
  std::optional<at::Tensor> bias_;
  at::Tensor rows_;
  at::Tensor mean_;
  at::Tensor reciprocal_;
};

}  // namespace

std::unique_ptr<LayerModule> make_group_norm(const model::LayerPlan& layer, const LayerPlace&) {
  return std::make_unique<GroupNorm>(layer.integer("groups"), layer.real("epsilon"),
                                     layer.parameter_tensors > 0);
}

}  // namespace mh::engine
