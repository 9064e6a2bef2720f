// The server of a simulated world: the real coordinator in a shell that behaves like server/core:
// decisions are committed in their order, in groups, and what leaves the process waits for that;
// calls are held and woken as server/parked_calls does; the aggregation takes time; a crash loses
// whatever was not committed. Every decision is shown to the account.
//
// Rules of the model
//  1. A reply, a deleted blob: only after the commit. Aggregation and waking: with the decision
//     (server/core.h, rule 2).
//  2. One commit at a time; all decisions that wait are its group, which is written whole or not at
//     all. With an update goes its blob, which until then only the memory of the machine has.
//  3. A crash ends all calls and loses decisions not written. `torn`: what was being written is
//     lost too; otherwise it is written and nobody was told.
//  4. A full disk refuses uploads and new parameters, and makes commits wait.
// No threads.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "scheduler/coordinator.h"
#include "tests/sim/account.h"
#include "tests/sim/environment.h"
#include "tests/sim/network.h"
#include "tests/sim/rows.h"

namespace mh::sim {

struct ServerCounts {
  std::uint64_t decisions = 0;
  std::uint64_t exchanges = 0;
  std::uint64_t commits = 0;
  std::uint64_t crashes = 0;
  std::uint64_t steps = 0;
};

class Server {
 public:
  Server(Environment& environment, Network& network, std::uint64_t seed);

  // Starts for the first time; submits nothing.
  void start();
  // An event of the server's. Errors are Violations.
  void handle(const Event& event);

  // Faults.
  void crash(bool is_torn);
  void set_disk_full(bool is_full);
  bool is_up() const { return coordinator_ != nullptr; }
  // The admin's calls; ignored while it is down.
  JobId submit(const scheduler::JobSubmission& job);
  void update_job(JobId job, scheduler::JobAction action, std::uint32_t priority);
  void set_trust(HostId host, bool is_trusted);
  void detach(HostId host);

  // The blob door. Errors: as HTTP's would be.
  Status take_upload(const Digest& blob, bool is_wrong);
  // `result`: whose input it is.
  Status find_blob(const Digest& blob) const;
  void add_blob(const Digest& blob) { blobs_[blob] = {}; }

  // Builds a second coordinator from the rows and compares; only when nothing waits for a commit.
  void compare_restart();
  void check_all();
  bool has_ended() const;
  bool is_settled() const { return queue_.empty() && is_up(); }

  const Account& account() const { return account_; }
  const Rows& durable() const { return durable_; }
  const ServerCounts& counts() const { return counts_; }
  // Requires: is_up().
  const scheduler::Coordinator& coordinator() const { return *coordinator_; }
  // Folds everything that was decided into one number.
  std::uint64_t digest() const { return digest_; }
  std::size_t parked_count() const { return parked_.size(); }

 private:
  struct Blob {
    bool is_durable = true;
    bool is_wrong = false;
    bool is_upload = false;
  };
  struct Call {
    CallMessage message;
    TimePoint hold_until{};
    scheduler::ExchangeReply reply;
    // In parked_; its wave as in server/parked_calls.
    bool is_parked = false;
    // Not asking at the moment; until then or until woken.
    bool is_waiting = false;
    TimePoint timer_at{};
    bool is_woken = false;
    std::uint64_t wave = 0;
    std::list<std::uint64_t>::iterator place{};
    bool is_abandoned = false;
  };
  // A decision on its way to the disk, and what follows it.
  struct Transition {
    scheduler::Changes changes;
    std::vector<Digest> counted_blobs;
    std::vector<Digest> unneeded;
    std::vector<Digest> unused_updates;
    // A call to answer; an attach to answer.
    std::uint64_t call = 0;
    std::optional<std::pair<HostAddress, HostId>> attached;
  };
  struct Aggregation {
    JobId job;
    std::uint64_t step = 0;
    Digest parameters;
    Digest optimizer;
  };

  // server.cpp: calls.
  void receive(const Event& event);
  void receive_attach(const Event& event);
  void screened(std::uint64_t handle);
  void screen(scheduler::ExchangeEvent& event);
  void ask(std::uint64_t handle);
  void answered(std::uint64_t handle);
  void finish(std::uint64_t handle);
  void park(std::uint64_t handle);
  void unpark(Call& call);
  void caller_gone(const Event& event);
  Call forget(std::uint64_t handle);
  void wake_first();
  void wake_next();
  void woken(std::uint64_t handle);
  void park_timer(std::uint64_t handle);
  // server_commits.cpp: decisions, commits, crashes, aggregation.
  // Makes a decision real; `asked` is the call that it answers.
  template <class Reply>
  Reply settle(scheduler::Decision<Reply> decision, bool ends_leases, Transition transition = {},
               const scheduler::ExchangeEvent* asked = nullptr) {
    account_.apply(decision.changes, decision.effects, events_.now(), ends_leases);
    if constexpr (std::is_same_v<Reply, Result<scheduler::ExchangeReply>>) {
      if (asked != nullptr) account_.check_exchange(*asked, *decision.reply, events_.now());
    }
    follow(std::move(decision.changes), decision.effects, decision.wake_at, std::move(transition));
    return std::move(decision.reply);
  }
  void follow(scheduler::Changes changes, const scheduler::Effects& effects,
              std::optional<TimePoint> wake_at, Transition transition);
  void follow_timer(std::optional<TimePoint> wake_at);
  void begin_effects(const scheduler::Effects& effects);
  void push(Transition transition);
  void begin_commit();
  void committed();
  void write(const Transition& transition);
  void finish_group(std::vector<Transition> group);
  void delete_unneeded(const Transition& transition);
  void compared(std::uint64_t handle);
  void begin_aggregation(const scheduler::StepReady& step);
  void check_checked(const scheduler::StepReady& step) const;
  void aggregated(std::uint64_t handle);
  void start_again();
  void lose_uploads();
  void note(std::uint64_t word);
  void trace(const scheduler::Changes& changes);
  milliseconds draw(double mean_ms);
  void schedule(EventKind kind, milliseconds delay, std::uint64_t subject);

  Environment& environment_;
  const Scenario& scenario_;
  EventQueue& events_;
  Network& network_;
  Random random_;
  const scheduler::CoordinatorOptions options_;
  Account account_;
  Rows durable_;
  std::unique_ptr<scheduler::Coordinator> coordinator_;
  std::uint32_t life_ = 0;
  std::uint64_t digest_ = 0;
  ServerCounts counts_;

  // Durable: which host a client's secret names.
  std::map<std::uint32_t, HostId> secrets_;
  std::map<std::uint32_t, HostId> durable_secrets_;
  std::unordered_map<Digest, Blob> blobs_;

  Slab<Call> calls_;
  // By the client's number.
  std::unordered_map<std::uint64_t, std::uint64_t> open_calls_;
  std::list<std::uint64_t> parked_;
  std::list<std::uint64_t>::iterator next_to_wake_ = parked_.end();
  std::uint64_t wave_ = 0;
  std::size_t fruitless_ = 0;

  std::deque<Transition> queue_;
  std::size_t in_commit_ = 0;
  Slab<Aggregation> aggregations_;
  Slab<scheduler::Comparison> comparisons_;
  // Their word is enough, right or wrong.
  std::set<HostId> ever_trusted_;
  std::optional<TimePoint> wake_at_;
  bool is_disk_full_ = false;
};

// The options that a scenario gives the coordinator.
scheduler::CoordinatorOptions options_of(const Scenario& scenario);

}  // namespace mh::sim
