// The names of trainer/model/aggregation_recipe.h, for what carries recipes out.
#pragma once

#include "trainer/model/aggregation_recipe.h"

namespace mh::robust {

using model::check_recipe;
using model::Convention;
using model::is_coordinate_wise;
using model::kInputsMax;
using model::kIterationsMax;
using model::krum_neighbours;
using model::multi_krum_q;
using model::name_of;
using model::needs_geometry;
using model::Pre;
using model::pre_named;
using model::Recipe;
using model::Rule;
using model::rule_named;
using model::rule_table;
using model::RuleInfo;

}  // namespace mh::robust
