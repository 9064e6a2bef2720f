// The inside of world.cpp: hosts, their events, the bytes of updates. Private to world*.cpp.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/coordinator.h"
#include "tests/bench/attack/device_class.h"
#include "tests/bench/attack/world.h"
#include "trainer/update/step.h"
#include "trainer/update/tensor_pack.h"

namespace mh::attack {

// One machine.
struct Machine {
  std::size_t index = 0;
  std::optional<std::uint64_t> attacker;
  const DeviceClass* device = nullptr;
  // Of a workunit computed honestly.
  std::chrono::milliseconds duration{0};
  // Its present name, and the earlier ones.
  HostId host;
  std::vector<HostId> past_hosts;
  std::optional<scheduler::Assignment> work;
  // Only the newest wake-up counts.
  std::uint64_t generation = 0;
  bool is_idle = false;
  // When it comes back under a new name.
  std::optional<std::uint64_t> return_at_step;
  // Under the present name.
  std::uint64_t handed_in = 0;
  HostOutcome outcome;
};

class World {
 public:
  World(const Scenario& scenario, Learner& learner);
  Result<Outcome> run();

 private:
  enum class What { kHost, kStep, kCompare, kTick };
  struct Event {
    TimePoint at;
    std::uint64_t sequence = 0;
    What what = What::kTick;
    std::size_t machine = 0;
    std::uint64_t generation = 0;
    bool operator>(const Event& other) const {
      return std::tie(at, sequence) > std::tie(other.at, other.sequence);
    }
  };
  // Who made a result, and whether it is what honest work gives.
  struct Truth {
    std::size_t machine = 0;
    bool is_bad = false;
    double gflop = 0;
  };

  // world.cpp: the run.
  void start();
  void attach(Machine& machine);
  Status handle(const Event& event);
  Status wake(Machine& machine);
  void schedule(What what, TimePoint at, std::size_t machine = 0);
  void wake_idle();
  // What the shell does with every decision.
  template <class Reply>
  Reply take(scheduler::Decision<Reply> decision) {
    note(decision.changes);
    carry_out(decision.effects);
    if (decision.wake_at) {
      tick_at_ = *decision.wake_at;
      schedule(What::kTick, tick_at_);
    }
    return std::move(decision.reply);
  }
  void note(const scheduler::Changes& changes);
  void carry_out(const scheduler::Effects& effects);
  void look_at_standing();
  Outcome outcome();

  // world_work.cpp: what hosts hand in, and what the shell does with it.
  // Requires: the machine has work.
  Errand errand_of(const Machine& machine) const;
  Result<scheduler::Report> finished(Machine& machine);
  Result<Gradient> computed(Machine& machine, const Errand& errand);
  void screen(const scheduler::Assignment& work, scheduler::Report& report) const;
  void compare();
  Status complete_step();
  Digest keep(std::vector<std::byte> bytes);
  std::span<const float> values_of(const Digest& digest) const;
  update::UpdateExpectation expected(const scheduler::Assignment& work) const;

  const Scenario& scenario_;
  Learner& learner_;
  const model::ModelPlan& plan_;
  const scheduler::StepShape shape_;
  Insight insight_;
  Adversary adversary_;
  update::StepRule rule_;
  Vector parameters_;
  Vector state_;
  std::unique_ptr<scheduler::Coordinator> coordinator_;
  JobId job_;
  std::vector<Machine> machines_;
  std::map<HostId, std::size_t> machine_of_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t sequence_ = 0;
  TimePoint now_;
  TimePoint tick_at_{};
  std::map<Digest, std::vector<std::byte>> blobs_;
  std::map<ResultId, Truth> truth_;
  // (step, shard) -> what counts.
  std::map<std::pair<std::uint64_t, std::uint64_t>, ResultId> canonical_;
  std::optional<scheduler::StepReady> ready_;
  std::deque<scheduler::Comparison> comparisons_;
  std::uint64_t account_count_ = 0;
  std::uint64_t result_count_ = 0;
};

}  // namespace mh::attack
