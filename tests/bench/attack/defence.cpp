#include "tests/bench/attack/defence.h"

#include <algorithm>
#include <map>
#include <vector>

#include "trainer/robust/aggregate.h"
#include "trainer/update/aggregate.h"

namespace mh::attack {
namespace {

// One part between two '+'.
Status apply(std::string_view part, std::uint64_t attacker_count, Defence& defence) {
  if (part == "default" || part == "none") {
    defence.has_checks = part == "default";
    return {};
  }
  if (!defence.recipe) defence.recipe.emplace().f = attacker_count;
  if (const auto pre = robust::pre_named(part)) {
    defence.recipe->pre.push_back(*pre);
    return {};
  }
  MH_TRY(defence.recipe->rule, robust::rule_named(part));
  return {};
}

// The sums of a host's shards over its samples: the host is what may be bad, not the shard.
std::vector<Vector> by_host(std::span<const Contribution> contributions) {
  std::map<HostId, std::vector<double>> sums;
  std::map<HostId, std::uint64_t> samples;
  for (const Contribution& one : contributions) {
    std::vector<double>& sum = sums[one.host];
    sum.resize(one.sum.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one.sum[i];
    samples[one.host] += one.sample_count;
  }
  std::vector<Vector> means;
  for (const auto& [host, sum] : sums) {
    Vector mean(sum.size());
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] = static_cast<float>(sum[i] / static_cast<double>(samples[host]));
    means.push_back(std::move(mean));
  }
  return means;
}

Result<Vector> exact_mean(std::span<const Contribution> contributions) {
  std::vector<std::span<const float>> shards;
  std::uint64_t samples = 0;
  for (const Contribution& one : contributions) {
    shards.push_back(one.sum);
    samples += one.sample_count;
  }
  Vector mean(contributions[0].sum.size());
  MH_TRY_VOID(update::mean_gradient({}, shards, samples, mean));
  return mean;
}

}  // namespace

Result<Defence> parse_defence(std::string_view text, std::uint64_t attacker_count) {
  Defence defence;
  defence.name = text;
  defence.has_checks = false;
  while (true) {
    const std::size_t plus = text.find('+');
    const std::string_view part = text.substr(0, plus);
    if (const Status applied = apply(part, attacker_count, defence); !applied)
      return fail(Errc::kInvalidArgument,
                  "defence '" + defence.name + "': '" + std::string(part) +
                      "' is neither default nor none, and: " + applied.error().message);
    if (plus == std::string_view::npos) return defence;
    text.remove_prefix(plus + 1);
  }
}

Result<Vector> combine(const Defence& defence, std::span<const Contribution> contributions) {
  if (!defence.recipe) return exact_mean(contributions);
  const std::vector<Vector> means = by_host(contributions);
  std::vector<robust::Input> inputs;
  for (const Vector& mean : means)
    inputs.push_back({"host " + std::to_string(inputs.size()), std::as_bytes(std::span(mean))});
  robust::Recipe recipe = *defence.recipe;
  // In a step that few hosts computed, fewer of them can be bad.
  recipe.f = std::min<std::uint64_t>(recipe.f, (means.size() - 1) / 2);
  Vector out(means[0].size());
  MH_TRY(const auto outcome, robust::aggregate(recipe, inputs, {}, out, {}));
  return out;
}

}  // namespace mh::attack
