// What can be known in a run: parameters of every step, the gradient of every shard. Honest hosts
// take their own from it; attackers may look at all of it, which is more than real ones see.
// Gradients are computed once for each (step, shard). Threads: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tests/bench/attack/defence.h"
#include "tests/bench/attack/learner.h"
#include "tests/bench/attack/sample_order.h"

namespace mh::attack {

class Insight {
 public:
  Insight(Learner& learner, SampleOrder order, const scheduler::StepShape& shape,
          const Defence& defence, std::uint64_t host_count, std::uint64_t attacker_count);

  // The parameters of the next step, from step 0 on.
  void add_parameters(Vector parameters);
  // Requires: step < steps added.
  const Vector& parameters(std::uint64_t step) const { return parameters_[step]; }
  std::uint64_t step_count() const { return parameters_.size(); }
  // The mean gradient that the last finished step was taken with; empty before.
  void set_last_mean(Vector mean) { last_mean_ = std::move(mean); }
  const Vector& last_mean() const { return last_mean_; }

  // The sum over a shard at that step's parameters. Errors: those of the learner.
  Result<Gradient> honest(std::uint64_t step, std::uint64_t shard);
  // The same with flipped labels.
  Result<Gradient> flipped(std::uint64_t step, std::uint64_t shard);
  // The shard's sum at the parameters of `age` steps before, or of the first step.
  Result<Gradient> stale(std::uint64_t step, std::uint64_t shard, std::uint64_t age);

  // Mean gradients of as many shards of the step as there are honest hosts: what colluding
  // attackers reckon with.
  Result<std::vector<Vector>> honest_means(std::uint64_t step);
  // How far the aggregate of honest_means() and one copy of `vector` for each attacker lies from
  // the mean of the honest; -1 if the defence would refuse it. Requires: honest = honest_means().
  double damage(Vectors honest, const Vector& vector) const;

  const scheduler::StepShape& shape() const { return shape_; }
  std::size_t size() const { return parameters_[0].size(); }
  std::uint64_t host_count() const { return host_count_; }
  std::uint64_t attacker_count() const { return attacker_count_; }

 private:
  struct Key {
    std::uint64_t step = 0;
    std::uint64_t shard = 0;
    auto operator<=>(const Key&) const = default;
  };
  Result<Gradient> compute(std::uint64_t parameters_step, const Key& key, Labels labels);

  Learner& learner_;
  SampleOrder order_;
  const scheduler::StepShape shape_;
  const Defence& defence_;
  const std::uint64_t host_count_;
  const std::uint64_t attacker_count_;
  std::vector<Vector> parameters_;
  Vector last_mean_;
  // Of the last two steps.
  std::map<Key, Gradient> honest_;
};

}  // namespace mh::attack
