// dropout: in training each value is zeroed with probability p and the others are divided by 1 - p;
// otherwise nothing.
//
// Masks come from the counter-based generator on the CPU: key from (job seed, layer index), counter
// (position in the sample stream, element / 4). They depend neither on how samples are cut into
// shards and micro-batches nor on the device.
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>

#include <cmath>

#include "proto/base/random.h"
#include "trainer/engine/layers/factories.h"

namespace mh::engine {
namespace {

/// Separates this use of the job's seed from all others ("drop").
constexpr std::uint64_t kDropoutPurpose = 0x64726f70;

class Dropout final : public LayerModule {
 public:
  Dropout(double probability, std::uint64_t layer_index)
      : probability_(probability), layer_index_(layer_index) {}

  at::Tensor forward(const at::Tensor& input, const BatchContext& context) override {
    if (!context.is_training || probability_ <= 0) return input;
    scale_ = scales_of(input, context);
    return at::mul(input, scale_);
  }

  at::Tensor backward(const at::Tensor& output_gradient, bool input_gradient_wanted,
                      std::span<at::Tensor> /*gradients*/) override {
    at::Tensor scale = std::move(scale_);
    if (!input_gradient_wanted) return {};
    return scale.defined() ? at::mul(output_gradient, scale) : output_gradient;
  }

 private:
  /// 0 or 1 / (1 - p) for each element of `input`, in C order within a sample.
  at::Tensor scales_of(const at::Tensor& input, const BatchContext& context) const {
    at::Tensor scales = at::empty(input.sizes(), at::TensorOptions().dtype(at::kFloat));
    const std::int64_t rows = input.size(0);
    const std::int64_t elements = rows > 0 ? input.numel() / rows : 0;
    // A word below the threshold drops: P = threshold / 2^32.
    const auto threshold = static_cast<std::uint64_t>(std::llround(probability_ * 4294967296.0));
    const auto kept = static_cast<float>(1.0 / (1.0 - probability_));
    const std::uint64_t key = derive_key(context.job_seed, kDropoutPurpose, layer_index_);
    float* out = scales.mutable_data_ptr<float>();
    for (std::int64_t row = 0; row < rows; ++row) {
      const Philox4x32 generator(key, context.first_position + static_cast<std::uint64_t>(row));
      for (std::int64_t element = 0; element < elements; element += 4) {
        const auto words = generator.block(static_cast<std::uint64_t>(element / 4));
        const std::int64_t count = std::min<std::int64_t>(4, elements - element);
        for (std::int64_t i = 0; i < count; ++i) {
          *out++ = words[static_cast<std::size_t>(i)] < threshold ? 0.0F : kept;
        }
      }
    }
    return input.is_cpu() ? scales : scales.to(input.device());
  }

  const double probability_;
  const std::uint64_t layer_index_;
  at::Tensor scale_;
};

}  // namespace

std::unique_ptr<LayerModule> make_dropout(const model::LayerPlan& layer, const LayerPlace& place) {
  return std::make_unique<Dropout>(layer.real("p"), place.layer_index);
}

}  // namespace mh::engine
