// A simulated world: one server, its hosts, the links between them, an admin, and the faults of a
// scenario, all from one seed, in virtual time.
//
// Flow: Scenario, seed -> World::run() -> Outcome. The same seed and scenario give the same events
// and the same digest. Invariants are looked at after every event; the costly ones, which look at
// everything, after every event of small worlds and less often in large ones.
// No threads: worlds share nothing, so several may run at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/environment.h"
#include "tests/sim/host.h"
#include "tests/sim/network.h"
#include "tests/sim/server.h"

namespace mh::sim {

struct Outcome {
  // Name of the broken invariant; empty: all held.
  std::string invariant;
  std::string text;
  // Of everything that happened.
  std::uint64_t digest = 0;
  WorldCounts counts;
  ServerCounts server;
  // Virtual time, and how much of it the jobs took.
  double seconds = 0;
  double job_seconds = 0;
  std::uint64_t steps_done = 0;
  std::uint64_t samples_done = 0;
  std::uint64_t jobs_finished = 0;
  std::vector<std::string> trace;

  bool has_failed() const { return !invariant.empty(); }
};

class World {
 public:
  // `jobs`: instead of those that the scenario describes.
  World(const Scenario& scenario, std::uint64_t seed,
        std::optional<std::vector<SimJob>> jobs = std::nullopt);

  void keep_trace() { environment_.trace.keep(); }
  // Never throws: what is broken is in the outcome.
  Outcome run();

 private:
  // world.cpp
  void submit_jobs();
  void make_hosts();
  HostProfile draw_profile(std::uint32_t index, Random& random) const;
  void run_events();
  void trace(const Event& event);
  void handle(const Event& event);
  void look_at_everything();
  bool is_over();
  TimePoint patience() const;
  std::uint64_t event_count_max() const;
  void check_end();
  void fill(Outcome& outcome) const;
  // world_faults.cpp
  void plan_faults();
  void handle_fault(const Event& event);
  void partition();
  void drop_out();
  void jump_clock();
  void administrate();
  void trust_hosts();
  void end_faults();
  void put_in_order();
  void schedule(EventKind kind, double seconds);
  void schedule_next(EventKind kind, double mean_seconds);

  const Scenario scenario_;
  const std::uint64_t seed_;
  EventQueue events_;
  Environment environment_;
  Network network_;
  Server server_;
  std::vector<std::unique_ptr<Host>> hosts_;
  Random faults_;
  Random admin_;
  std::uint64_t digest_ = 0;
  TimePoint ended_{};
  std::uint64_t until_check_ = 0;
  // Hosts before it have been looked at by the admin.
  std::size_t trusted_until_ = 0;
};

}  // namespace mh::sim
