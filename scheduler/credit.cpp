// See credit.h.
#include "scheduler/credit.h"

#include <algorithm>

#include "proto/base/probe.h"

namespace mh::scheduler {
namespace {

CreditRow ledger_row(State& state, const ContributionEntry& entry, CreditKind kind, TimePoint now) {
  CreditRow row;
  row.sequence = ++state.last_credit;
  row.time = now;
  row.job = entry.row.job;
  row.host = entry.row.host;
  row.kind = kind;
  row.balance = entry.row.credit_booked;
  return row;
}

void book(State& state, ContributionEntry& entry, const std::string& reason, TimePoint now) {
  if (entry.row.credit == entry.row.credit_booked) return;
  CreditRow row = ledger_row(state, entry, CreditKind::kGranted, now);
  row.gflop = entry.row.credit - entry.row.credit_booked;
  row.balance = entry.row.credit;
  row.reason = reason;
  entry.row.credit_booked = entry.row.credit;
  state.changed(entry);
  state.store(std::move(row));
}

// What is held back in a job, taken out.
double take_held(HostEntry& host, ContributionEntry& entry) {
  const double held = entry.row.credit_held;
  entry.row.credit_held = 0;
  host.row.credit_held -= held;
  return held;
}

void forget_held(State& state, HostEntry& host) {
  host.jobs_with_held_credit.clear();
  // Differences of sums of fractions are not zero by themselves.
  host.row.credit_held = 0;
  state.changed(host);
}

}  // namespace

void grant(State& state, JobEntry& job, HostEntry& host, double gflop) {
  ContributionEntry& entry = state.contribution(job, host.row.id);
  entry.row.credit += gflop;
  host.row.credit += gflop;
  job.unbooked.insert(host.row.id);
  state.changed(entry);
  state.changed(host);
}

void hold_back(State& state, JobEntry& job, HostEntry& host, double gflop) {
  ContributionEntry& entry = state.contribution(job, host.row.id);
  entry.row.credit_held += gflop;
  host.row.credit_held += gflop;
  host.jobs_with_held_credit.insert(job.row.id);
  state.changed(entry);
  state.changed(host);
}

void grant_held(State& state, HostEntry& host, TimePoint now) {
  if (host.jobs_with_held_credit.empty()) return;
  MH_PROBE("credit that was held back is granted");
  for (const JobId id : host.jobs_with_held_credit) {
    JobEntry& job = state.job(id);
    grant(state, job, host, take_held(host, state.contribution(job, host.row.id)));
    // No step of it will end any more.
    if (job.has_ended()) book(state, job, "a check passed after the job had ended", now);
  }
  forget_held(state, host);
}

void forfeit_held(State& state, HostEntry& host, const std::string& reason, TimePoint now) {
  for (const JobId id : host.jobs_with_held_credit) {
    MH_PROBE("credit that was held back is lost");
    ContributionEntry& entry = state.contribution(state.job(id), host.row.id);
    const double held = take_held(host, entry);
    entry.row.credit_forfeited += held;
    CreditRow row = ledger_row(state, entry, CreditKind::kForfeited, now);
    row.gflop = held;
    row.reason = reason;
    state.changed(entry);
    state.store(std::move(row));
  }
  forget_held(state, host);
}

void withdraw(State& state, JobEntry& job, HostEntry& host, double gflop, const std::string& reason,
              TimePoint now) {
  ContributionEntry& entry = state.contribution(job, host.row.id);
  book(state, entry, reason, now);
  job.unbooked.erase(host.row.id);
  const double held = std::min(entry.row.credit_held, gflop);
  entry.row.credit_held -= held;
  host.row.credit_held -= held;
  if (entry.row.credit_held == 0) host.jobs_with_held_credit.erase(job.row.id);
  if (host.jobs_with_held_credit.empty()) host.row.credit_held = 0;
  const double granted = std::min(entry.row.credit, gflop - held);
  if (granted > 0) {
    entry.row.credit -= granted;
    host.row.credit -= granted;
    entry.row.credit_booked = entry.row.credit;
    CreditRow row = ledger_row(state, entry, CreditKind::kWithdrawn, now);
    row.gflop = granted;
    row.reason = reason;
    state.store(std::move(row));
  }
  // The rest was lost already.
  const double lost = gflop - held - granted;
  entry.row.credit_forfeited = std::max(0.0, entry.row.credit_forfeited - lost);
  state.changed(entry);
  state.changed(host);
}

void book(State& state, JobEntry& job, const std::string& reason, TimePoint now) {
  for (const HostId id : job.unbooked) {
    book(state, state.contribution(job, id), reason, now);
  }
  job.unbooked.clear();
}

}  // namespace mh::scheduler
