// embedding: row number x of a table, for each index x. Indices are checked where samples are read
// (sample_reader), because an index out of range on CUDA would end the process.
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>

#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

class Embedding final : public LayerModule {
 public:
  void load(std::span<const at::Tensor> parameters) override { weight_ = parameters[0]; }

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    at::Tensor indices = input.contiguous();
    if (context.is_training) indices_ = indices;
    return at::embedding(weight_, indices);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool /*input_gradient_wanted*/,
                      std::span<at::Tensor> gradients) override {
    at::Tensor indices = std::move(indices_);
    gradients[0].add_(at::embedding_dense_backward(output_gradient.contiguous(), indices,
                                                   weight_.size(0), /*padding_idx=*/-1,
                                                   /*scale_grad_by_freq=*/false));
    return {};
  }

 private:
  at::Tensor weight_;
  at::Tensor indices_;
};

}  // namespace

std::unique_ptr<LayerModule> make_embedding(const model::LayerPlan&, const LayerPlace&) {
  return std::make_unique<Embedding>();
}

}  // namespace mh::engine
