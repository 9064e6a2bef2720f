// Texts of shapes and losses; see model_spec.h.
#include "trainer/model/model_spec.h"

namespace mh::model {

std::string shape_text(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const std::int64_t size : shape) {
    if (!text.empty()) text += "×";
    text += std::to_string(size);
  }
  return text;
}

std::string_view loss_name(Loss loss) {
  return loss == Loss::kCrossEntropy ? "cross_entropy" : "mse";
}

}  // namespace mh::model
