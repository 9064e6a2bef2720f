// flatten: all dimensions but the first become one, in C order (channel, row, column), whatever the
// memory format.
#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Flatten final : public LayerModule {
 public:
  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    if (context.is_training) input_sizes_ = input.sizes().vec();
    return input.contiguous().view({input.size(0), -1});
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    if (!input_gradient_wanted) return {};
    return output_gradient.contiguous().view(input_sizes_);
  }

 private:
  std::vector<std::int64_t> input_sizes_;
};

}  // namespace

std::unique_ptr<LayerModule> make_flatten(const model::LayerPlan&, const LayerPlace&) {
  return std::make_unique<Flatten>();
}

}  // namespace mh::engine
