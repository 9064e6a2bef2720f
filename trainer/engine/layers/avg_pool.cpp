// avg_pool: the mean of each window; places of the padding count as zeros (torch's
// count_include_pad).
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/avg_pool2d_backward.h>

#include "trainer/engine/layers/factories.h"
#include "trainer/engine/layers/image_format.h"

namespace mh::engine {
namespace {

class AvgPool final : public LayerModule {
 public:
  AvgPool(std::int64_t kernel, std::int64_t stride, std::int64_t padding, bool channels_last)
      : kernel_{kernel, kernel},
        stride_{stride, stride},
        padding_{padding, padding},
        channels_last_(channels_last) {}

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor image = in_image_format(input, channels_last_);
    if (context.is_training) image_ = image;
    return at::avg_pool2d(image, kernel_, stride_, padding_, /*ceil_mode=*/false,
                          /*count_include_pad=*/true, std::nullopt);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor image = std::move(image_);
    if (!input_gradient_wanted) return {};
    return at::avg_pool2d_backward(in_image_format(output_gradient, channels_last_), image, kernel_,
                                   stride_, padding_, /*ceil_mode=*/false,
                                   /*count_include_pad=*/true, std::nullopt);
  }

 private:
  const std::array<std::int64_t, 2> kernel_;
  const std::array<std::int64_t, 2> stride_;
  const std::array<std::int64_t, 2> padding_;
  const bool channels_last_;
  at::Tensor image_;
};

}  // namespace

std::unique_ptr<LayerModule> make_avg_pool(const model::LayerPlan& layer, const LayerPlace& place) {
  return std::make_unique<AvgPool>(layer.integer("kernel"), layer.integer("stride"),
                                   layer.integer("padding"), place.channels_last);
}

}  // namespace mh::engine
