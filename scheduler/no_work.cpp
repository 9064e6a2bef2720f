// See no_work.h.
#include "scheduler/no_work.h"

#include "proto/base/probe.h"
#include "scheduler/spread.h"

namespace mh::scheduler {
namespace {

// Back-off of a call that is not held: usual, and while a step is being aggregated.
constexpr std::chrono::milliseconds kBackoff{1'000};
constexpr std::chrono::milliseconds kBackoffSoon{200};
constexpr std::chrono::milliseconds kBackoffBanned{600'000};

std::string why_unfit(const JobRow& job, const HostDescription& host) {
  const std::string name = "job " + to_string(job.id) + " (" + job.name + ") ";
  if (job.is_pinned && (host.device != "cpu" || host.cpu_level.empty())) {
    return name + "computes with pinned numerics, on x86 processors with AVX2 and FMA only; this " +
           "host computes on " + (host.device == "cpu" ? "a CPU without them" : host.device);
  }
  return name + "computes with " + std::to_string(job.threads) + " threads, this host has " +
         std::to_string(host.threads);
}

void explain_jobs(const State& state, const HostEntry& host, ExchangeReply& reply) {
  bool is_running = false;
  bool is_aggregating = false;
  bool is_waiting_for_trust = false;
  const JobEntry* too_large = nullptr;
  bool fits_any = false;
  bool is_left_to_others = false;
  bool is_waiting_for_check = false;
  std::string spread_reason;
  for (const JobId id : state.live_jobs) {
    const JobEntry& job = state.jobs.at(id);
    if (!job.gives_work()) continue;
    is_running = true;
    fits_any = fits_any || job.fits(host.row);
    if (too_large == nullptr && !job.fits(host.row)) too_large = &job;
    is_left_to_others = is_left_to_others || (job.fits(host.row) && !job.waiting_gradients.empty());
    is_waiting_for_check = is_waiting_for_check || !job.waiting_checks.empty();
    if (spread_reason.empty() && job.fits(host.row) && !job.waiting_gradients.empty()) {
      spread_reason = why_not_spread(state, job, host.row.id);
    }
    is_aggregating = is_aggregating || job.is_step_complete();
    is_waiting_for_trust = is_waiting_for_trust || !job.waiting_evaluations.empty();
  }
  if (!is_running) {
    reply.no_work_reason = state.live_jobs.empty() ? "no job is running" : "every job is paused";
  } else if (!fits_any) {
    reply.no_work_reason = why_unfit(too_large->row, host.row.description);
  } else if (!spread_reason.empty()) {
    reply.no_work_reason = spread_reason;
  } else if (is_left_to_others) {
    reply.no_work_reason = "other hosts would finish sooner what waits";
  } else if (is_waiting_for_check) {
    reply.no_work_reason =
        "results wait to be checked by hosts of other accounts and networks than this one's";
  } else if (is_aggregating) {
    reply.backoff = kBackoffSoon;
    reply.no_work_reason = "the next step is being made";
  } else if (is_waiting_for_trust && !host.row.is_trusted) {
    reply.no_work_reason = "only evaluations wait, and they go to trusted hosts";
  } else {
    reply.no_work_reason = "all work of the step in progress is given out";
  }
}

}  // namespace

void explain_no_work(const State& state, const HostEntry& host, TimePoint now,
                     ExchangeReply& reply) {
  reply.backoff = kBackoff;
  if (host.row.standing == Standing::kBanned) {
    reply.backoff = kBackoffBanned;
    reply.no_work_reason = "this host gets no work: " + host.row.standing_reason +
                           " (faulty memory or overclocking are the usual cause; the project's "
                           "admin can forgive it)";
    return;
  }
  if (host.paused_until > now) {
    reply.backoff = host.paused_until - now;
    reply.no_work_reason = "this host's last " + std::to_string(host.failures_in_row) +
                           " results failed; it may go on in " +
                           std::to_string(reply.backoff.count()) + " ms";
    return;
  }
  if (reply.is_slowed) {
    reply.backoff = host.asks.next_at(state.options.asks, now) - now;
    reply.no_work_reason = "this host asks too often; it may ask again in " +
                           std::to_string(reply.backoff.count()) + " ms";
    return;
  }
  if (host.row.standing == Standing::kLimited && !host.leases.empty()) {
    reply.no_work_reason = "this host gets one workunit at a time: " + host.row.standing_reason;
    return;
  }
  if (host.leases.size() >= host.row.lease_quota) {
    MH_PROBE("a host asks beyond its quota");
    reply.no_work_reason = "this host holds " + std::to_string(host.leases.size()) +
                           " leases, its quota is " + std::to_string(host.row.lease_quota);
    return;
  }
  explain_jobs(state, host, reply);
}

}  // namespace mh::scheduler
