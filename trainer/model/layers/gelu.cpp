// gelu: y = x Φ(x), with the exact error function. Any shape; no settings, no parameters.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings&, const LayerPosition& position) {
  return same_shape(position, "gelu", /*flops_per_element=*/10);
}

}  // namespace

const LayerKind& gelu_kind() {
  static const LayerKind kind = {"gelu", {}, fit};
  return kind;
}

}  // namespace mh::model
