#include "tests/bench/attack/insight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "scheduler/coordinator.h"
#include "trainer/update/tensor_pack.h"

namespace mh::attack {
namespace {

// CoordinatorOptions::norm_factor.
constexpr double kNormFactor = scheduler::CoordinatorOptions{}.norm_factor;

}  // namespace

Insight::Insight(Learner& learner, SampleOrder order, const scheduler::StepShape& shape,
                 const Defence& defence, std::uint64_t host_count, std::uint64_t attacker_count)
    : learner_(learner),
      order_(std::move(order)),
      shape_(shape),
      defence_(defence),
      host_count_(host_count),
      attacker_count_(attacker_count) {}

void Insight::add_parameters(Vector parameters) {
  parameters_.push_back(std::move(parameters));
  const std::uint64_t step = parameters_.size() - 1;
  std::erase_if(honest_, [step](const auto& entry) { return entry.first.step + 1 < step; });
}

Result<Gradient> Insight::compute(std::uint64_t parameters_step, const Key& key, Labels labels) {
  const auto samples = order_.samples_of(scheduler::shard_range(shape_, key.step, key.shard));
  return learner_.gradient(parameters_[parameters_step], samples, labels);
}

Result<Gradient> Insight::honest(std::uint64_t step, std::uint64_t shard) {
  const Key key{step, shard};
  if (const auto found = honest_.find(key); found != honest_.end()) return found->second;
  MH_TRY(Gradient gradient, compute(step, key, Labels::kTrue));
  return honest_.emplace(key, std::move(gradient)).first->second;
}

Result<Gradient> Insight::flipped(std::uint64_t step, std::uint64_t shard) {
  return compute(step, {step, shard}, Labels::kFlipped);
}

Result<Gradient> Insight::stale(std::uint64_t step, std::uint64_t shard, std::uint64_t age) {
  return compute(step - std::min(step, age), {step, shard}, Labels::kTrue);
}

Result<std::vector<Vector>> Insight::honest_means(std::uint64_t step) {
  const std::uint64_t shards = scheduler::workunits_per_step(shape_);
  const std::uint64_t count = std::clamp<std::uint64_t>(host_count_ - attacker_count_, 1, shards);
  std::vector<Vector> means;
  for (std::uint64_t shard = 0; shard < count; ++shard) {
    MH_TRY(const Gradient gradient, honest(step, shard));
    means.push_back(scaled(gradient.sum, 1 / static_cast<double>(shape_.shard)));
  }
  return means;
}

double Insight::damage(Vectors honest, const Vector& vector) const {
  std::vector<Contribution> all;
  for (const Vector& one : honest) all.push_back({HostId(all.size() + 1), one, 1});
  for (std::uint64_t i = 0; i < attacker_count_; ++i)
    all.push_back({HostId(all.size() + 1), vector, 1});
  const Vector mean = mean_of(honest);
  // What stands out is checked for certain.
  const double norm_max = kNormFactor * update::l2_norm(mean);
  if (defence_.has_checks && update::l2_norm(vector) > norm_max) return -1;
  const auto combined = combine(defence_, all);
  if (!combined) return -1;
  double sum = 0;
  for (std::size_t i = 0; i < mean.size(); ++i)
    sum += std::pow(static_cast<double>((*combined)[i]) - mean[i], 2);
  return std::isfinite(sum) ? std::sqrt(sum) : -1;
}

}  // namespace mh::attack
