// What a layer kind is: its settings with ranges and defaults, and the rule that gives a layer
// shape, parameters, cost.
//
// Adding a kind: one file layers/<kind>.cpp that defines a LayerKind, one line in registry.cpp, its
// module in trainer/engine/layers/<kind>.cpp, and its rows in docs/job-file.md (a test compares
// them). The registry is a written-out table because self-registering objects vanish when a static
// library is linked. Pure, torch-free; no threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trainer/model/model_plan.h"
#include "trainer/model/model_spec.h"

namespace mh::model {

/// One setting of a layer kind.
struct SettingRule {
  enum class Type { kInteger, kReal, kFlag, kChoice };

  std::string_view name;
  Type type = Type::kInteger;
  /// Inclusive for integers; for reals each end may be excluded.
  double minimum = 0;
  double maximum = 0;
  bool is_minimum_excluded = false;
  bool is_maximum_excluded = false;
  /// Value when the file has none. Without a default the setting is required, unless `is_optional`.
  std::optional<SettingValue> default_value;
  /// May be missing without a default: the layer finds the value out (pool's stride, the last
  /// linear's out).
  bool is_optional = false;
  /// Allowed words of a kChoice.
  std::span<const std::string_view> choices;
};

/// "an integer from 1 to 1,024", "a number from 0 to below 1", "true or false", "one of default,
/// zeros".
std::string allowed_text(const SettingRule& rule);

/// What is wrong with a value ("is 0, allowed is …"), or nothing.
std::optional<std::string> value_problem(const SettingRule& rule, const SettingValue& value);

/// What a layer is told about where it stands.
struct LayerPosition {
  Shape input_shape;
  /// First layer of the model, and its input consists of whole numbers.
  bool is_first = false;
  bool is_input_integer = false;
  /// Size that the loss wants of the output's last dimension; only for the last layer.
  std::optional<std::int64_t> wanted_last_size;
};

/// A parameter tensor as its layer wants it.
struct ParameterRule {
  std::string_view suffix;
  Shape shape;
  Initialisation init;
};

/// What a layer makes of its input.
struct LayerOutline {
  Shape output_shape;
  std::vector<ParameterRule> parameters;
  double forward_flops = 0;
  std::string description;
  /// Settings that the layer found out itself.
  Settings found_settings;
};

/// Why a layer does not fit.
struct LayerProblem {
  /// Setting to blame, or empty.
  std::string setting;
  std::string message;
};

/// One kind of layer.
struct LayerKind {
  std::string_view name;
  std::vector<SettingRule> settings;
  /// Fits a layer to its place. Requires: checked settings with defaults filled in.
  std::variant<LayerOutline, LayerProblem> (*fit)(const Settings& settings,
                                                  const LayerPosition& position);

  /// The rule of a setting, or null.
  const SettingRule* rule(std::string_view setting) const;
  /// Names of all settings, in the order of the documentation.
  std::vector<std::string_view> setting_names() const;
};

/// All kinds, by name.
std::span<const LayerKind* const> layer_kinds();
/// The kind of that name, or null.
const LayerKind* find_layer_kind(std::string_view name);
/// Names of all kinds, sorted.
std::vector<std::string_view> layer_kind_names();

/// Adds the defaults of settings that are missing.
void fill_defaults(const LayerKind& kind, Settings& settings);
/// Everything wrong with the settings of one layer, in the order of names; shapes are not looked
/// at.
std::vector<LayerProblem> check_settings(const LayerKind& kind, const Settings& settings);

// For the files of layers/: settings by name (Requires: present and of that type) and common rules.

std::int64_t integer_setting(const Settings& settings, std::string_view name);
double real_setting(const Settings& settings, std::string_view name);
bool flag_setting(const Settings& settings, std::string_view name);
const std::string& text_setting(const Settings& settings, std::string_view name);

SettingRule integer_rule(std::string_view name, std::int64_t minimum, std::int64_t maximum,
                         std::optional<std::int64_t> default_value = std::nullopt);
SettingRule flag_rule(std::string_view name, bool default_value);

/// Product of the sizes; requires a shape within kActivationElementsMax.
std::int64_t element_count(const Shape& shape);

/// The outline of a layer that keeps the shape, has no parameters and costs `flops_per_element`.
LayerOutline same_shape(const LayerPosition& position, std::string description,
                        double flops_per_element);

/// Places of a window of `kernel` (spread by `dilation`) that moves by `stride` over `size` + 2 ×
/// `padding`; 0 when it does not fit.
std::int64_t window_count(std::int64_t size, std::int64_t kernel, std::int64_t stride,
                          std::int64_t padding, std::int64_t dilation = 1);

/// The setting `init` of linear and conv2d.
SettingRule init_rule();
/// First weights by the name of a rule ("default", "kaiming_uniform", …); see docs/job-file.md.
Initialisation weight_init(std::string_view rule, double fan_in, double fan_out);
/// First biases: torch's uniform for "default", else zeros.
Initialisation bias_init(std::string_view rule, double fan_in);

}  // namespace mh::model
