// conv2d: y = w * x + b (cross-correlation, as torch), by oneDNN on the CPU and cuDNN on CUDA.
// An input of rank 2 per sample ([H, W]) is taken as one channel.
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>

#include "trainer/engine/layers/factories.h"
#include "trainer/engine/layers/image_format.h"

namespace mh::engine {
namespace {

constexpr std::int64_t kOutputPadding[] = {0, 0};

class Conv2d final : public LayerModule {
 public:
  Conv2d(const model::LayerPlan& layer, bool channels_last)
      : stride_{layer.integer("stride"), layer.integer("stride")},
        padding_{layer.integer("padding"), layer.integer("padding")},
        dilation_{layer.integer("dilation"), layer.integer("dilation")},
        groups_(layer.integer("groups")),
        has_bias_(layer.flag("bias")),
        channels_last_(channels_last) {}

  void load(std::span<const at::Tensor> parameters) override {
    weight_ = in_image_format(parameters[0], channels_last_);
    if (has_bias_) bias_ = parameters[1];
  }

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    is_single_channel_ = input.dim() == 3;
    at::Tensor image =
        in_image_format(is_single_channel_ ? input.unsqueeze(1) : input, channels_last_);
    if (context.is_training) image_ = image;
    return at::convolution(image, weight_, bias_, stride_, padding_, dilation_,
                           /*transposed=*/false, kOutputPadding, groups_);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> gradients) override {
    at::Tensor image = std::move(image_);
    const std::int64_t bias_sizes[] = {weight_.size(0)};
    auto [input_gradient, weight_gradient, bias_gradient] =
        at::convolution_backward(in_image_format(output_gradient, channels_last_), image, weight_,
                                 bias_sizes, stride_, padding_, dilation_, /*transposed=*/false,
                                 kOutputPadding, groups_, {input_gradient_wanted, true, has_bias_});
    gradients[0].add_(weight_gradient);
    if (has_bias_) gradients[1].add_(bias_gradient);
    if (!input_gradient_wanted) return {};
    return is_single_channel_ ? input_gradient.squeeze(1) : input_gradient;
  }

 private:
  const std::array<std::int64_t, 2> stride_;
  const std::array<std::int64_t, 2> padding_;
  const std::array<std::int64_t, 2> dilation_;
  const std::int64_t groups_;
  const bool has_bias_;
  const bool channels_last_;
  at::Tensor weight_;
  std::optional<at::Tensor> bias_;
  at::Tensor image_;
  bool is_single_channel_ = false;
};

}  // namespace

std::unique_ptr<LayerModule> make_conv2d(const model::LayerPlan& layer, const LayerPlace& place) {
  return std::make_unique<Conv2d>(layer, place.channels_last);
}

}  // namespace mh::engine
