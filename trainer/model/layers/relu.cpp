// relu: y = max(x, 0). Any shape; no settings, no parameters.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings&, const LayerPosition& position) {
  return same_shape(position, "relu", /*flops_per_element=*/1);
}

}  // namespace

const LayerKind& relu_kind() {
  static const LayerKind kind = {"relu", {}, fit};
  return kind;
}

}  // namespace mh::model
