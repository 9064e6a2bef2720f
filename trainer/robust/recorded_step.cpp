// See recorded_step.h.
#include "trainer/robust/recorded_step.h"

#include <map>
#include <string_view>

#include "proto/base/check.h"
#include "trainer/model/bucket_key.h"

namespace mh::robust {

std::vector<std::uint32_t> voices_of(update::VoiceUnit unit, std::span<const std::string> hosts) {
  std::vector<std::uint32_t> voices;
  std::map<std::string_view, std::uint32_t> numbers;
  for (const std::string& host : hosts) {
    const auto next = static_cast<std::uint32_t>(unit == update::VoiceUnit::kHost ? numbers.size()
                                                                                  : voices.size());
    voices.push_back(
        unit == update::VoiceUnit::kHost ? numbers.try_emplace(host, next).first->second : next);
  }
  return voices;
}

Status recorded_gradient(const update::JobRule& rule, const RecordedShards& shards,
                         std::span<float> out, unsigned threads) {
  MH_CHECK(shards.sums.size() == shards.hosts.size() && !rule.is_exact_mean());
  Recipe recipe = rule.recipe;
  recipe.bucket_seed = model::bucket_key(rule.seed, shards.step);
  const std::vector<std::uint32_t> voices = voices_of(rule.unit, shards.hosts);
  const StepShards grouped = {
      .sums = shards.sums, .voices = voices, .sample_count = rule.training.shard};
  return step_gradient(recipe, grouped, {}, out, threads);
}

}  // namespace mh::robust
