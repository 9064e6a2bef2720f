// embedding: each whole number of the input becomes the row of that number in a table. Weight [num,
// dim]. Only as the first layer of a model, for data sets with whole-number inputs.
#include <array>

#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

constexpr std::array<std::string_view, 2> kInits = {"default", "zeros"};

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  if (!position.is_first) {
    return LayerProblem{
        "", "embedding takes row numbers from the data set; it can only be the first layer"};
  }
  if (!position.is_input_integer) {
    return LayerProblem{"",
                        "embedding needs inputs of type u8, i32 or i64; the data set's are f32"};
  }
  const std::int64_t num = integer_setting(settings, "num");
  const std::int64_t dim = integer_setting(settings, "dim");
  LayerOutline outline;
  outline.output_shape = position.input_shape;
  outline.output_shape.push_back(dim);
  Initialisation init;
  if (text_setting(settings, "init") == "default") {
    init = {Initialisation::Kind::kNormal, real_setting(settings, "scale")};
  }
  outline.parameters.push_back({"weight", {num, dim}, init});
  outline.description = "embedding " + grouped(num) + "×" + grouped(dim);
  return outline;
}

SettingRule scale_rule() {
  SettingRule rule;
  rule.name = "scale";
  rule.type = SettingRule::Type::kReal;
  rule.is_minimum_excluded = true;
  rule.maximum = 100;
  rule.default_value = 1.0;
  return rule;
}

SettingRule embedding_init_rule() {
  SettingRule rule = init_rule();
  rule.choices = kInits;
  return rule;
}

}  // namespace

const LayerKind& embedding_kind() {
  static const LayerKind kind = {
      "embedding",
      {integer_rule("num", 1, 16'777'216), integer_rule("dim", 1, 65'536), scale_rule(),
       embedding_init_rule()},
      fit};
  return kind;
}

}  // namespace mh::model
