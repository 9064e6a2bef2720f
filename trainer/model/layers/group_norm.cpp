// group_norm: channels (the first dimension) are cut into groups, each group of a sample is brought
// to mean 0 and variance 1, then each channel is scaled and shifted. With affine: weight [channels]
// (ones), bias [channels] (zeros).
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/layers/norm.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  const Shape& input = position.input_shape;
  if (input.empty()) {
    return LayerProblem{
        "", "group_norm needs channels as the first dimension, the input is a single number"};
  }
  const std::int64_t groups = integer_setting(settings, "groups");
  if (input[0] % groups != 0) {
    return LayerProblem{"groups", "is " + grouped(groups) + ", which does not divide the " +
                                      grouped(input[0]) + " channels of the input"};
  }
  if (element_count(input) == groups) {
    return LayerProblem{"groups", "is " + grouped(groups) +
                                      ", which leaves one value a group of the input " +
                                      shape_text(input) + "; take fewer groups"};
  }
  LayerOutline outline = same_shape(
      position, "group_norm " + grouped(groups) + " of " + grouped(input[0]), kNormFlopsPerElement);
  add_norm_parameters(settings, input[0], outline);
  return outline;
}

}  // namespace

const LayerKind& group_norm_kind() {
  static const LayerKind kind = {
      "group_norm",
      {integer_rule("groups", 1, 1'048'576), norm_epsilon_rule(), flag_rule("affine", true)},
      fit};
  return kind;
}

}  // namespace mh::model
