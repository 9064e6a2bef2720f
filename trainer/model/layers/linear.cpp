// linear: y = W x + b over the last dimension of any shape. Weight [out, in], bias [out].
// The last layer of a model may leave `out` away: it takes what the loss wants.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  if (position.input_shape.empty()) {
    return LayerProblem{
        "", "linear needs a list of numbers, the input is a single one; put flatten before it"};
  }
  LayerOutline outline;
  std::int64_t out = 0;
  if (settings.contains("out")) {
    out = integer_setting(settings, "out");
  } else if (position.wanted_last_size) {
    out = *position.wanted_last_size;
    outline.found_settings["out"] = out;
  } else {
    return LayerProblem{"out", "is missing; only the last layer of a model may leave it away"};
  }
  const std::int64_t in = position.input_shape.back();
  const auto rows = static_cast<double>(element_count(position.input_shape) / in);
  const bool has_bias = flag_setting(settings, "bias");
  const std::string& init = text_setting(settings, "init");
  const auto fan_in = static_cast<double>(in);
  const auto fan_out = static_cast<double>(out);

  outline.output_shape = position.input_shape;
  outline.output_shape.back() = out;
  outline.parameters.push_back({"weight", {out, in}, weight_init(init, fan_in, fan_out)});
  if (has_bias) outline.parameters.push_back({"bias", {out}, bias_init(init, fan_in)});
  outline.forward_flops = rows * fan_out * (2 * fan_in + (has_bias ? 1 : 0));
  outline.description =
      "linear " + grouped(in) + "→" + grouped(out) + (has_bias ? "" : ", no bias");
  return outline;
}

SettingRule out_rule() {
  SettingRule rule = integer_rule("out", 1, 16'777'216);
  rule.is_optional = true;
  return rule;
}

}  // namespace

const LayerKind& linear_kind() {
  static const LayerKind kind = {"linear", {out_rule(), flag_rule("bias", true), init_rule()}, fit};
  return kind;
}

}  // namespace mh::model
