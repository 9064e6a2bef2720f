// flatten: all dimensions of a sample become one, in C order (channel, row, column). Any shape; no
// settings.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings&, const LayerPosition& position) {
  LayerOutline outline;
  outline.output_shape = {element_count(position.input_shape)};
  outline.description = "flatten";
  return outline;
}

}  // namespace

const LayerKind& flatten_kind() {
  static const LayerKind kind = {"flatten", {}, fit};
  return kind;
}

}  // namespace mh::model
