// dropout: in training each value is zeroed with probability p, the others are divided by 1 - p.
// Any shape.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  return same_shape(position, "dropout " + number_text(real_setting(settings, "p")),
                    /*flops_per_element=*/1);
}

SettingRule probability_rule() {
  SettingRule rule;
  rule.name = "p";
  rule.type = SettingRule::Type::kReal;
  rule.maximum = 1;
  rule.is_maximum_excluded = true;
  rule.default_value = 0.5;
  return rule;
}

}  // namespace

const LayerKind& dropout_kind() {
  static const LayerKind kind = {"dropout", {probability_rule()}, fit};
  return kind;
}

}  // namespace mh::model
