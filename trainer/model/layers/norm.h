// What layer_norm and group_norm share. Private to this folder.
#pragma once

#include "trainer/model/layer_kind.h"

namespace mh::model {

/// Mean, variance, scale and shift.
inline constexpr double kNormFlopsPerElement = 8;

/// Setting `epsilon`, added to the variance.
inline SettingRule norm_epsilon_rule() {
  SettingRule rule;
  rule.name = "epsilon";
  rule.type = SettingRule::Type::kReal;
  rule.maximum = 1;
  rule.is_minimum_excluded = true;
  rule.default_value = 1e-5;
  return rule;
}

/// With setting `affine`: weight [size] of ones and bias [size] of zeros.
inline void add_norm_parameters(const Settings& settings, std::int64_t size,
                                LayerOutline& outline) {
  if (!flag_setting(settings, "affine")) {
    outline.description += ", not affine";
    return;
  }
  outline.parameters.push_back({"weight", {size}, {Initialisation::Kind::kOnes, 0}});
  outline.parameters.push_back({"bias", {size}, {Initialisation::Kind::kZeros, 0}});
}

}  // namespace mh::model
