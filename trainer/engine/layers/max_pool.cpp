// max_pool: the largest value of each window; its gradient goes to the first place that holds that
// value.
#include <ATen/ops/max_pool2d_with_indices.h>
#include <ATen/ops/max_pool2d_with_indices_backward.h>

#include "trainer/engine/layers/factories.h"
#include "trainer/engine/layers/image_format.h"

namespace mh::engine {
namespace {

constexpr std::int64_t kDilation[] = {1, 1};

class MaxPool final : public LayerModule {
 public:
  MaxPool(std::int64_t kernel, std::int64_t stride, std::int64_t padding, bool channels_last)
      : kernel_{kernel, kernel},
        stride_{stride, stride},
        padding_{padding, padding},
        channels_last_(channels_last) {}

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor image = in_image_format(input, channels_last_);
    auto [output, indices] =
        at::max_pool2d_with_indices(image, kernel_, stride_, padding_, kDilation, false);
    if (context.is_training) {
      image_ = image;
      indices_ = indices;
    }
    return output;
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor image = std::move(image_);
    at::Tensor indices = std::move(indices_);
    if (!input_gradient_wanted) return {};
    return at::max_pool2d_with_indices_backward(in_image_format(output_gradient, channels_last_),
                                                image, kernel_, stride_, padding_, kDilation, false,
                                                indices);
  }

 private:
  const std::array<std::int64_t, 2> kernel_;
  const std::array<std::int64_t, 2> stride_;
  const std::array<std::int64_t, 2> padding_;
  const bool channels_last_;
  at::Tensor image_;
  at::Tensor indices_;
};

}  // namespace

std::unique_ptr<LayerModule> make_max_pool(const model::LayerPlan& layer, const LayerPlace& place) {
  return std::make_unique<MaxPool>(layer.integer("kernel"), layer.integer("stride"),
                                   layer.integer("padding"), place.channels_last);
}

}  // namespace mh::engine
