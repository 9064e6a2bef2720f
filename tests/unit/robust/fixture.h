// Vectors with known aggregates, and the verbs of the tests of trainer/robust.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "trainer/robust/aggregate.h"

namespace mh::robust {

using Vectors = std::vector<std::vector<float>>;

/// ByzFL's own: three collinear rows.
inline const Vectors kByzfl = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
/// Eleven rows without ties; the last two are Byzantine.
inline const Vectors kEleven = {
    {0.277F, -1.009F, 1.528F, -1.662F},  {1.047F, -1.216F, 0.927F, -0.405F},
    {0.233F, 0.233F, 1.633F, -1.033F},   {-0.193F, 0.150F, 0.899F, -2.092F},
    {-0.484F, -0.085F, 1.579F, -1.254F}, {0.451F, -1.253F, 1.159F, -1.912F},
    {0.531F, 0.174F, 0.810F, -0.991F},   {0.742F, -0.501F, 1.522F, -0.549F},
    {-0.385F, -1.286F, 0.238F, -0.428F}, {1.900F, -1.750F, 1.800F, -2.300F},
    {1.700F, -1.950F, 1.600F, -2.100F}};

inline std::vector<Input> inputs_of(const Vectors& vectors) {
  std::vector<Input> inputs;
  for (const auto& vector : vectors) {
    inputs.push_back({.name = "input " + std::to_string(inputs.size()),
                      .values = std::as_bytes(std::span(vector))});
  }
  return inputs;
}

inline Result<std::vector<float>> aggregated(const Recipe& recipe, const Vectors& vectors,
                                             const PassOptions& options = {}) {
  std::vector<float> out(vectors[0].size());
  MH_TRY(const Outcome outcome, aggregate(recipe, inputs_of(vectors), {}, out, options));
  return out;
}

inline Recipe recipe_of(Rule rule, std::uint64_t f, std::vector<Pre> pre = {}) {
  Recipe recipe;
  recipe.rule = rule;
  recipe.f = f;
  recipe.pre = std::move(pre);
  return recipe;
}

inline std::string message_of(const Recipe& recipe, const Vectors& vectors) {
  const auto result = aggregated(recipe, vectors);
  return result.has_value() ? "no error" : result.error().message;
}

inline Geometry geometry_of(const Vectors& vectors) {
  Columns columns;
  columns.count = vectors[0].size();
  for (const auto& vector : vectors)
    columns.vectors.push_back({.parts = {std::as_bytes(std::span(vector)).data()}});
  return Geometry::without_reference(vectors.size(), *inner_products(columns, std::nullopt, {}));
}

}  // namespace mh::robust
