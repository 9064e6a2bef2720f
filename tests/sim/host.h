// A host of a simulated world: the real HostCore in a shell that behaves like client/daemon, with a
// disk that outlives the process (records, cache, pause), a trainer that takes its time, a clock of
// its own, and a person who switches it on and off.
//
// A process has a life; events of an earlier one are void. What only hostile hosts do is in
// host_hostile.cpp. No threads.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "client/daemon/host_core.h"
#include "tests/sim/environment.h"
#include "tests/sim/network.h"
#include "tests/sim/server.h"

namespace mh::sim {

// Drawn once, when the world is made.
struct HostProfile {
  std::uint32_t index = 0;
  double gflops = 1;
  bool is_always_on = false;
  // Local time, as a share of a day.
  double time_zone = 0;
  bool is_bad = false;
  bool is_forgetful = false;
  bool is_impostor = false;
  bool is_repeater = false;
  // Never leaves for good.
  bool is_anchor = false;
  double drift = 0;
};

class Host {
 public:
  Host(Environment& environment, Network& network, Server& server, const HostProfile& profile,
       std::uint64_t seed);

  void handle(const Event& event);
  // The faults are over: it comes up, stays up, and works correctly.
  void heal();
  // Ends the process at once; it comes back after a while.
  void kill();
  // Somebody sets its clock.
  void jump_clock(double seconds);

  bool is_on() const { return core_ != nullptr; }
  bool has_left() const { return has_left_; }
  std::optional<HostId> id() const { return id_; }
  const HostProfile& profile() const { return profile_; }
  double credit() const { return core_ ? core_->status().credit : 0; }
  // Since its process started.
  double online_seconds_of_this_run() const;

 private:
  // What a computation will come to.
  enum class Fate { kDone, kFailed, kTrainerEnds, kHostEnds };
  struct Computing {
    client::Assignment assignment;
    std::uint64_t serial = 0;
    Fate fate = Fate::kDone;
    TimePoint began{};
  };

  // host.cpp: process and person.
  void start();
  void end_process();
  void leave();
  void plan_session();
  void plan_return();
  void attach();
  void attached(const Event& event);
  TimePoint clock() const;
  void perform(client::Actions actions);
  void arm_timer();
  void schedule(EventKind kind, milliseconds delay, std::uint64_t subject = 0);
  // host_actions.cpp: what the core asks for.
  void act(const client::StartExchange& action);
  void act(const client::CancelExchange& action);
  void act(const client::StartDownload& action);
  void act(const client::DropBlob& action);
  void act(const client::StartTrainer& action);
  void act(const client::StopTrainer& action);
  void act(const client::SendCompute& action);
  void act(const client::SendCancel& action);
  void act(const client::KeepRecord& action);
  void act(const client::DropRecord& action);
  void act(const client::StartUpload& action);
  void act(const client::Log& action);
  void act(const client::Exit& action);
  void replied(const Event& event);
  void downloaded(const Event& event);
  void uploaded(const Event& event);
  std::uint64_t blob_bytes(const Digest& blob, client::BlobKind kind) const;
  const client::ManifestChunks* chunks_of(const Digest& manifest) const;
  void check_missing(const Digest& blob) const;
  // host_trainer.cpp
  void compute_next();
  void trainer_ready(const Event& event);
  void trainer_ended(const Event& event);
  void computed(const Event& event);
  client::TrainerDone result_of(const client::Assignment& assignment);
  void note_verdicts(const client::ExchangeReply& reply);
  void waste(ResultId result, bool by_backup);
  // host_hostile.cpp
  void distort(scheduler::ExchangeEvent& event);

  Environment& environment_;
  Network& network_;
  Server& server_;
  const HostProfile profile_;
  const std::uint64_t seed_;
  Random session_;
  Random trainer_;
  Random hostile_;

  // On its disk.
  std::optional<HostId> id_;
  std::map<ResultId, client::Report> records_;
  std::set<Digest> cache_;
  bool is_paused_ = false;
  bool has_left_ = false;
  double clock_offset_ms_ = 0;

  // Of the running process.
  std::unique_ptr<client::HostCore> core_;
  std::uint32_t life_ = 0;
  std::uint64_t calls_[2] = {0, 0};
  TimePoint timer_at_{};
  TimePoint on_since_{};
  std::map<ResultId, client::Assignment> assignments_;
  bool is_trainer_ready_ = false;
  std::uint64_t trainer_serial_ = 0;
  std::deque<Computing> computing_;

  // Time that each computed result took, until its verdict.
  std::map<ResultId, double> seconds_;
  // Updates that screening will refuse.
  std::set<Digest> wrong_blobs_;
  // What a repeater may say again.
  std::deque<scheduler::Report> said_;
};

}  // namespace mh::sim
