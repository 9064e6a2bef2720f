// What max_pool and avg_pool share: settings and shape rule. Private to this folder.
#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "trainer/model/layer_kind.h"

namespace mh::model {

/// kernel, stride (the kernel when missing), padding.
std::vector<SettingRule> pool_settings();

/// The outline of a pool called `name` on an image [channels, height, width].
std::variant<LayerOutline, LayerProblem> fit_pool(std::string_view name, const Settings& settings,
                                                  const LayerPosition& position);

}  // namespace mh::model
