// layer_norm: each vector along the last dimension is brought to mean 0 and variance 1, then scaled
// and shifted. With affine: weight [size] (ones) and bias [size] (zeros). Any shape but a single
// number.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/layers/norm.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  if (position.input_shape.empty() || position.input_shape.back() == 1) {
    return LayerProblem{"",
                        "layer_norm needs at least 2 values in the last dimension, the input is " +
                            shape_text(position.input_shape)};
  }
  const std::int64_t size = position.input_shape.back();
  LayerOutline outline = same_shape(position, "layer_norm " + grouped(size), kNormFlopsPerElement);
  add_norm_parameters(settings, size, outline);
  return outline;
}

}  // namespace

const LayerKind& layer_norm_kind() {
  static const LayerKind kind = {
      "layer_norm", {norm_epsilon_rule(), flag_rule("affine", true)}, fit};
  return kind;
}

}  // namespace mh::model
