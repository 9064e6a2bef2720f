// The simulator's own account of what may happen: it follows the rows, events and effects of the
// coordinator and keeps, without its help, what must be true of them. What is wrong is thrown as a
// Violation.
//
// Flow: Server asks expect() before the coordinator decides, then apply() and check_exchange().
//
// Invariants, by the name that a failure prints
//   states           only legal changes of jobs, workunits, results
//   counted-once     each sample of a step in exactly one valid result; no second canonical result
//   step             a step ends when all its workunits are done, with their mean loss in the order
//                    of shards, and its parameters are the function of its updates in that order
//   verdict          what a report is answered follows from the rows before it, and repeats itself
//   lease            leases end at their deadline, not before; renewals end
//   quota            hosts hold no more than their quota, which follows the outcomes of their work
//   copies           copies of a workunit are bounded; none twice on one host
//   trust            evaluations go to trusted hosts
//   credit           credit, what is held back of it and what was forfeited are the sum of
//                    validated work, for hosts and for jobs
//   checked          where all results are checked, no wrong one enters a step
//   effects          updates and steps are announced once, when they are there
//   blobs            nothing that is needed is unreferenced
//   job-end          jobs end for a reason
//   acknowledged     what a host was told is valid stays valid
// No threads.
#pragma once

#include <exception>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "scheduler/coordinator.h"
#include "tests/sim/rows.h"

namespace mh::sim {

// A broken invariant.
class Violation : public std::exception {
 public:
  Violation(std::string invariant, std::string text)
      : invariant_(std::move(invariant)), text_(invariant_ + ": " + std::move(text)) {}

  const std::string& invariant() const { return invariant_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string invariant_;
  std::string text_;
};

// Parameters and optimizer state after a step, as the simulated aggregation makes them: a function
// of what it starts from and of the updates in their order.
Digest parameters_after(const Digest& before, const std::vector<Digest>& updates);

class Account {
 public:
  Account(const scheduler::CoordinatorOptions& options, bool keeps_history)
      : options_(options), rows_(keeps_history) {}

  // The server starts (again) with these rows.
  void restart(const Rows& durable, TimePoint now);
  // What the coordinator said first after that.
  void check_start(const scheduler::Effects& effects);

  // A call is about to be decided: predicts the verdicts.
  void expect(const scheduler::ExchangeEvent& event);
  // Something else is.
  void expect_no_call();
  // A decision was taken. Deadlines are looked at when `ends_leases` (tick and exchange do).
  void apply(const scheduler::Changes& changes, const scheduler::Effects& effects, TimePoint now,
             bool ends_leases);
  // After apply(): the reply of the call that expect() was told of.
  void check_exchange(const scheduler::ExchangeEvent& event, const scheduler::ExchangeReply& reply,
                      TimePoint now);
  // The reply leaves the server.
  void acknowledge(HostId host, const scheduler::ExchangeReply& reply);

  // Everything that was acknowledged is in these rows, credits included. Linear.
  void check_durable(const Rows& durable) const;

  // As of the latest decision.
  const Rows& rows() const { return rows_; }
  // The workunit of a result is wanted from its host: its lease lives.
  bool is_live(ResultId result) const;

 private:
  struct HostAccount {
    std::uint32_t quota = 0;
    double credit = 0;
    std::set<ResultId> leased;
    std::uint32_t failures_in_row = 0;
    TimePoint paused_until{};
  };
  struct Lease {
    TimePoint deadline{};
    // Renewals count before it.
    TimePoint renewable_until{};
    std::chrono::milliseconds length{0};
  };
  struct Expectation {
    scheduler::Verdict verdict = scheduler::Verdict::kUnknown;
    // The coordinator may have forgotten the result: it is of a step that is past.
    bool may_be_past = false;
    // It may be checked first, and be found wrong or given back.
    bool may_wait = false;
    // An earlier report of the call may have ended the job.
    bool may_be_late = false;
  };

  // account.cpp: legality of rows.
  void check_job(const scheduler::JobRow& row, const scheduler::Changes& changes) const;
  void check_job_failure(const scheduler::JobRow& row) const;
  void check_workunit(const scheduler::WorkunitRow& row) const;
  void check_result(const scheduler::ResultRow& row) const;
  void check_checkpoint(const scheduler::CheckpointRow& row) const;
  // account_steps.cpp: steps, effects, blobs.
  void check_step(const scheduler::StepRow& row, const Digest& before);
  void check_evaluation(const scheduler::EvaluationRow& row,
                        const scheduler::Changes& changes) const;
  void check_effects(const scheduler::Changes& changes, const scheduler::Effects& effects);
  void check_accepted(const scheduler::Effects& effects) const;
  void check_steps_ready(const scheduler::Effects& effects);
  void check_unreferenced(const std::vector<Digest>& blobs) const;
  // account_leases.cpp: leases, quotas, credit, verdicts.
  void follow_results(const scheduler::Changes& changes, TimePoint now);
  void follow_result(const scheduler::ResultRow& row, TimePoint now);
  void follow_new_lease(const scheduler::ResultRow& row, TimePoint now);
  void leave_lease(const scheduler::ResultRow& row, TimePoint now);
  void check_hosts(const scheduler::Changes& changes) const;
  void check_copies(const scheduler::Changes& changes) const;
  void check_deadlines(TimePoint now) const;
  void follow_held(const scheduler::ExchangeEvent& event);
  Expectation predict(const scheduler::Report& report, const scheduler::ExchangeEvent& event,
                      std::map<ResultId, scheduler::ResultState>& ahead, std::set<WorkunitId>& done,
                      std::set<JobId>& shaken) const;
  bool is_remembered(const scheduler::ResultRow& row) const;
  void set_deadline(ResultId id, TimePoint deadline);

  const scheduler::CoordinatorOptions options_;
  Rows rows_;
  std::map<HostId, HostAccount> hosts_;
  std::map<std::pair<JobId, HostId>, double> credit_;
  std::map<ResultId, Lease> leases_;
  std::set<std::pair<TimePoint, ResultId>> deadlines_;
  // Valid results of each gradient workunit of a step in progress, by job: what is accepted.
  std::map<JobId, std::unordered_set<Digest>> accepted_;
  std::set<std::pair<JobId, std::uint64_t>> steps_announced_;
  // Of the call that is being decided.
  std::vector<Expectation> expected_;
  std::vector<ResultId> reported_;
  TimePoint held_received_{};
  std::vector<ResultId> held_;
  std::vector<ResultId> new_leases_;
  HostId caller_;
  // Verdicts "valid" that left the server, with their hosts.
  std::map<ResultId, HostId> acknowledged_;
};

}  // namespace mh::sim
