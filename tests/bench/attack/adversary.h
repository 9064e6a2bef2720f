// What the attackers of a run do: a table of attacks by name, and the making of an update for a
// workunit that an attacker was given. All attackers of a run do the same and know of each other:
// for one workunit they send the same bytes wherever the attack allows it, so that they vouch for
// one another when one is checked by another. Threads: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>

#include "tests/bench/attack/insight.h"

namespace mh::attack {

// A workunit that an attacker was given.
struct Errand {
  std::uint64_t step = 0;
  std::uint64_t shard = 0;
  // Which of the attackers, from 0; how many results it handed in before.
  std::uint64_t attacker = 0;
  std::uint64_t handed_in = 0;
};

class Adversary;

struct AttackKind {
  std::string_view name;
  std::string_view what;
  // What is sent. Errors: those of the learner.
  Result<Gradient> (*make)(Adversary& adversary, const Errand& errand);
  // Time that it takes, over an honest host's.
  double seconds_factor = 1;
  // Results computed honestly first; after them one in `every` is not.
  std::uint64_t honest_first = 0;
  std::uint64_t every = 1;
  // Comes back under a new name so many steps after it was found out; 0: never.
  std::uint64_t return_after_steps = 0;
};

// In the order of the table of results. The first is "none".
std::span<const AttackKind> attack_table();
// The errand is one that this attack does honestly.
bool is_honest(const AttackKind& kind, const Errand& errand);
// Errors: kInvalidArgument, listing the names.
Result<const AttackKind*> attack_named(std::string_view name);

class Adversary {
 public:
  Adversary(const AttackKind& kind, Insight& insight, std::uint64_t seed)
      : kind_(kind), insight_(insight), seed_(seed) {}

  // Honest or not, as the attack has it.
  Result<Gradient> make(const Errand& errand);

  const AttackKind& kind() const { return kind_; }
  Insight& insight() { return insight_; }
  std::uint64_t seed() const { return seed_; }
  // The first honest gradient of each attacker, once it has one.
  std::map<std::uint64_t, Gradient>& kept() { return kept_; }
  // The vector that all send in a step, so that it is sought once.
  const Vector* shared(std::uint64_t step) const;
  const Vector& share(std::uint64_t step, Vector vector);

 private:
  const AttackKind& kind_;
  Insight& insight_;
  const std::uint64_t seed_;
  std::map<std::uint64_t, Gradient> kept_;
  std::uint64_t shared_step_ = 0;
  Vector shared_;
};

}  // namespace mh::attack
