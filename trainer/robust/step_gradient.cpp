// See step_gradient.h.
#include "trainer/robust/step_gradient.h"

#include <string>
#include <vector>

#include "proto/base/check.h"
#include "trainer/robust/aggregate.h"

namespace mh::robust {

Status step_gradient(const Recipe& recipe, const StepShards& shards,
                     std::span<const model::ParameterSpec> layout, std::span<float> out,
                     unsigned threads) {
  MH_CHECK(shards.sums.size() == shards.voices.size() && shards.sample_count > 0);
  std::vector<Input> inputs;
  for (std::size_t i = 0; i < shards.sums.size(); ++i) {
    const std::size_t voice = shards.voices[i];
    MH_CHECK(voice <= inputs.size());
    if (voice == inputs.size()) inputs.emplace_back();
    Input& input = inputs[voice];
    input.name += (input.name.empty() ? "shard " : ", ") + std::to_string(i);
    input.sums.push_back(shards.sums[i]);
    input.sample_count += shards.sample_count;
  }
  if (const Status defined = check_recipe(recipe, inputs.size()); !defined) {
    return fail(Errc::kInvalidArgument, "the aggregation is not defined for the " +
                                            std::to_string(inputs.size()) +
                                            " that took part: " + defined.error().message);
  }
  PassOptions options;
  options.threads = threads;
  MH_TRY(const Outcome outcome, aggregate(recipe, inputs, layout, out, options));
  return {};
}

}  // namespace mh::robust
