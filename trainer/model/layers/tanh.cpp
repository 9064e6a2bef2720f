// tanh: y = tanh(x). Any shape; no settings, no parameters.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings&, const LayerPosition& position) {
  return same_shape(position, "tanh", /*flops_per_element=*/6);
}

}  // namespace

const LayerKind& tanh_kind() {
  static const LayerKind kind = {"tanh", {}, fit};
  return kind;
}

}  // namespace mh::model
