// Settings of layers: ranges, defaults, and what the files of layers/ share. See layer_kind.h.
#include "trainer/model/layer_kind.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "proto/base/check.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

constexpr std::array<std::string_view, 6> kInitRules = {
    "default", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "zeros"};

std::string value_text(const SettingValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return grouped(*integer);
  if (const auto* real = std::get_if<double>(&value)) return number_text(*real);
  return "'" + std::get<std::string>(value) + "'";
}

bool is_in_range(const SettingRule& rule, double value) {
  if (!std::isfinite(value)) return false;
  if (rule.is_minimum_excluded ? value <= rule.minimum : value < rule.minimum) return false;
  return rule.is_maximum_excluded ? value < rule.maximum : value <= rule.maximum;
}

bool is_allowed(const SettingRule& rule, const SettingValue& value) {
  switch (rule.type) {
    case SettingRule::Type::kInteger: {
      const auto* integer = std::get_if<std::int64_t>(&value);
      return integer != nullptr && is_in_range(rule, static_cast<double>(*integer));
    }
    case SettingRule::Type::kReal: {
      const auto* real = std::get_if<double>(&value);
      return real != nullptr && is_in_range(rule, *real);
    }
    case SettingRule::Type::kFlag:
      return std::holds_alternative<bool>(value);
    case SettingRule::Type::kChoice: {
      const auto* word = std::get_if<std::string>(&value);
      return word != nullptr &&
             std::find(rule.choices.begin(), rule.choices.end(), *word) != rule.choices.end();
    }
  }
  return false;
}

const SettingValue& present(const Settings& settings, std::string_view name) {
  const auto found = settings.find(name);
  MH_CHECK(found != settings.end());
  return found->second;
}

template <class T>
const T& typed(const Settings& settings, std::string_view name) {
  const T* value = std::get_if<T>(&present(settings, name));
  MH_CHECK(value != nullptr);
  return *value;
}

}  // namespace

std::string allowed_text(const SettingRule& rule) {
  switch (rule.type) {
    case SettingRule::Type::kInteger:
      return "an integer from " + grouped(static_cast<std::int64_t>(rule.minimum)) + " to " +
             grouped(static_cast<std::int64_t>(rule.maximum));
    case SettingRule::Type::kReal:
      return "a number " + std::string(rule.is_minimum_excluded ? "above " : "from ") +
             number_text(rule.minimum) + (rule.is_maximum_excluded ? " to below " : " to ") +
             number_text(rule.maximum);
    case SettingRule::Type::kFlag:
      return "true or false";
    case SettingRule::Type::kChoice:
      return "one of " + joined(rule.choices);
  }
  return {};
}

std::optional<std::string> value_problem(const SettingRule& rule, const SettingValue& value) {
  if (is_allowed(rule, value)) return std::nullopt;
  return "is " + value_text(value) + "; allowed: " + allowed_text(rule);
}

const SettingRule* LayerKind::rule(std::string_view setting) const {
  const auto found = std::find_if(settings.begin(), settings.end(),
                                  [&](const SettingRule& rule) { return rule.name == setting; });
  return found == settings.end() ? nullptr : &*found;
}

std::vector<std::string_view> LayerKind::setting_names() const {
  std::vector<std::string_view> names;
  for (const SettingRule& rule : settings) names.push_back(rule.name);
  return names;
}

void fill_defaults(const LayerKind& kind, Settings& settings) {
  for (const SettingRule& rule : kind.settings) {
    if (rule.default_value) settings.try_emplace(std::string(rule.name), *rule.default_value);
  }
}

std::vector<LayerProblem> check_settings(const LayerKind& kind, const Settings& settings) {
  std::vector<LayerProblem> problems;
  for (const auto& [name, value] : settings) {
    const SettingRule* rule = kind.rule(name);
    if (rule == nullptr) {
      problems.push_back({name, "unknown setting of " + std::string(kind.name) +
                                    did_you_mean(name, kind.setting_names())});
    } else if (auto problem = value_problem(*rule, value)) {
      problems.push_back({name, std::move(*problem)});
    }
  }
  for (const SettingRule& rule : kind.settings) {
    if (rule.default_value || rule.is_optional || settings.contains(rule.name)) continue;
    problems.push_back({std::string(rule.name), "is missing; " + std::string(kind.name) +
                                                    " needs it: " + allowed_text(rule)});
  }
  return problems;
}

std::int64_t integer_setting(const Settings& settings, std::string_view name) {
  return typed<std::int64_t>(settings, name);
}
double real_setting(const Settings& settings, std::string_view name) {
  return typed<double>(settings, name);
}
bool flag_setting(const Settings& settings, std::string_view name) {
  return typed<bool>(settings, name);
}
const std::string& text_setting(const Settings& settings, std::string_view name) {
  return typed<std::string>(settings, name);
}

SettingRule integer_rule(std::string_view name, std::int64_t minimum, std::int64_t maximum,
                         std::optional<std::int64_t> default_value) {
  SettingRule rule;
  rule.name = name;
  rule.type = SettingRule::Type::kInteger;
  rule.minimum = static_cast<double>(minimum);
  rule.maximum = static_cast<double>(maximum);
  if (default_value) rule.default_value = *default_value;
  return rule;
}

SettingRule flag_rule(std::string_view name, bool default_value) {
  SettingRule rule;
  rule.name = name;
  rule.type = SettingRule::Type::kFlag;
  rule.default_value = default_value;
  return rule;
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

LayerOutline same_shape(const LayerPosition& position, std::string description,
                        double flops_per_element) {
  LayerOutline outline;
  outline.output_shape = position.input_shape;
  outline.forward_flops =
      flops_per_element * static_cast<double>(element_count(position.input_shape));
  outline.description = std::move(description);
  return outline;
}

std::int64_t window_count(std::int64_t size, std::int64_t kernel, std::int64_t stride,
                          std::int64_t padding, std::int64_t dilation) {
  const std::int64_t reach = dilation * (kernel - 1) + 1;
  const std::int64_t room = size + 2 * padding - reach;
  return room < 0 ? 0 : room / stride + 1;
}

SettingRule init_rule() {
  SettingRule rule;
  rule.name = "init";
  rule.type = SettingRule::Type::kChoice;
  rule.choices = kInitRules;
  rule.default_value = std::string("default");
  return rule;
}

Initialisation weight_init(std::string_view rule, double fan_in, double fan_out) {
  using Kind = Initialisation::Kind;
  if (rule == "zeros") return {Kind::kZeros, 0};
  if (rule == "kaiming_uniform") return {Kind::kUniform, std::sqrt(6 / fan_in)};
  if (rule == "kaiming_normal") return {Kind::kNormal, std::sqrt(2 / fan_in)};
  if (rule == "xavier_uniform") return {Kind::kUniform, std::sqrt(6 / (fan_in + fan_out))};
  if (rule == "xavier_normal") return {Kind::kNormal, std::sqrt(2 / (fan_in + fan_out))};
  MH_CHECK(rule == "default");
  return {Kind::kUniform, 1 / std::sqrt(fan_in)};
}

Initialisation bias_init(std::string_view rule, double fan_in) {
  if (rule == "default") return weight_init(rule, fan_in, 0);
  return {Initialisation::Kind::kZeros, 0};
}

}  // namespace mh::model
