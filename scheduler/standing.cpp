// See standing.h.
#include "scheduler/standing.h"

#include <algorithm>
#include <bit>

#include "proto/base/check.h"
#include "proto/base/probe.h"

namespace mh::scheduler {
namespace {

constexpr std::uint32_t kHistoryBits = 32;

std::uint32_t recent_bad(const State& state, const HostEntry& host) {
  const std::uint32_t window = std::min(state.options.checks_remembered, kHistoryBits);
  const std::uint32_t mask = window >= kHistoryBits ? ~0U : (1U << window) - 1;
  return static_cast<std::uint32_t>(std::popcount(host.row.recent_checks & mask));
}

void remember(HostEntry& host, bool is_bad) {
  ++host.row.checked_count;
  host.row.recent_checks = (host.row.recent_checks << 1) | (is_bad ? 1U : 0U);
}

void change(State& state, HostEntry& host, Standing to, const Evidence& evidence, std::string text,
            TimePoint now) {
  host.row.standing = to;
  host.row.standing_reason = text;
  HostLogRow entry;
  entry.time = now;
  entry.job = evidence.job;
  entry.result = evidence.result;
  entry.text = std::move(text);
  state.log(host, std::move(entry));
  follow_reliable(state, host);
}

void climb(State& state, HostEntry& host, const Evidence& evidence, TimePoint now) {
  ++host.row.valid_in_row;
  const bool may_climb =
      host.row.standing != Standing::kRecord && host.row.standing != Standing::kBanned;
  if (!may_climb || host.row.valid_in_row < state.options.record_after) return;
  MH_PROBE("a host gets a record");
  change(state, host, Standing::kRecord, evidence,
         std::to_string(host.row.valid_in_row) + " results in a row were valid", now);
}

}  // namespace

void note_unchecked(State& state, HostEntry& host, const Evidence& evidence, TimePoint now) {
  climb(state, host, evidence, now);
  state.changed(host);
}

void note_agreed(State& state, HostEntry& host, const Evidence& evidence, TimePoint now) {
  remember(host, false);
  climb(state, host, evidence, now);
  state.changed(host);
}

void note_rejected(HostEntry& host) { host.row.valid_in_row = 0; }

void note_bad(State& state, HostEntry& host, const Evidence& evidence, const std::string& what,
              TimePoint now) {
  remember(host, true);
  host.row.valid_in_row = 0;
  ++host.row.differed_count;
  const std::uint32_t bad = recent_bad(state, host);
  Standing to = host.row.standing == Standing::kNew ? Standing::kNew : Standing::kProbation;
  if (host.row.standing == Standing::kLimited) to = Standing::kLimited;
  if (bad >= state.options.limited_after) to = Standing::kLimited;
  if (bad >= state.options.banned_after || host.row.standing == Standing::kBanned) {
    to = Standing::kBanned;
  }
  if (to == Standing::kNew) to = Standing::kProbation;
  const bool is_new_ban = to == Standing::kBanned && host.row.standing != Standing::kBanned;
  change(state, host, to, evidence, what + "; " + recent_text(state, host), now);
  if (!is_new_ban) return;
  MH_PROBE("a host is banned");
  return_leases(state, host, "the host is banned", now);
}

void ban(State& state, HostEntry& host, const Evidence& evidence, const std::string& why,
         TimePoint now) {
  set_trust(state, host, false);
  host.row.valid_in_row = 0;
  if (host.row.standing != Standing::kBanned)
    change(state, host, Standing::kBanned, evidence, why, now);
  return_leases(state, host, "the host is banned", now);
}

void set_trust(State& state, HostEntry& host, bool is_trusted) {
  host.row.is_trusted = is_trusted;
  follow_trust(state, host);
  state.changed(host);
}

void follow_trust(State& state, const HostEntry& host) {
  if (host.row.is_trusted && !host.row.is_detached) {
    state.trusted.insert(host.row.id);
    state.effects().is_work_available = true;
  } else {
    state.trusted.erase(host.row.id);
  }
  follow_reliable(state, host);
}

void return_leases(State& state, HostEntry& host, const std::string& reason, TimePoint now) {
  const std::set<ResultId> leases = host.leases;
  for (const ResultId id : leases) {
    ResultEntry& result = state.result(id);
    result.row.reason = reason;
    state.set_state(result, ResultState::kReturned, now);
  }
}

void forgive(State& state, HostEntry& host, TimePoint now) {
  host.row.valid_in_row = 0;
  host.row.recent_checks = 0;
  host.failures_in_row = 0;
  host.paused_until = {};
  change(state, host, Standing::kNew, {}, "forgiven by an admin", now);
  state.effects().is_work_available = true;
}

bool is_reliable(const HostEntry& host) {
  // Who gets no work can confirm nothing.
  if (host.row.standing == Standing::kBanned) return false;
  return host.row.is_trusted || host.row.standing == Standing::kRecord;
}

void follow_reliable(State& state, const HostEntry& host) {
  if (is_reliable(host) && !host.row.is_detached) {
    state.reliable.insert(host.row.id);
  } else {
    state.reliable.erase(host.row.id);
  }
}

bool are_reliable_hosts_active(const State& state, TimePoint now) {
  std::size_t active = 0;
  return is_any_of_the_first(state.reliable, [&](HostId id) {
    if (state.hosts.at(id).last_seen + state.options.active_window > now) ++active;
    return active >= state.options.reliable_hosts_min;
  });
}

std::string recent_text(const State& state, const HostEntry& host) {
  const std::uint64_t window = std::min<std::uint64_t>(
      {host.row.checked_count, state.options.checks_remembered, kHistoryBits});
  return std::to_string(recent_bad(state, host)) + " of its last " + std::to_string(window) +
         " checked results were wrong";
}

std::string notice_of(const HostEntry& host) {
  if (host.row.standing < Standing::kProbation || host.row.standing == Standing::kRecord) return {};
  const bool is_probation = host.row.standing == Standing::kProbation;
  const std::string word(standing_word(host.row.standing));
  return (is_probation ? "on probation: " : word + ": ") + host.row.standing_reason +
         " (faulty memory or overclocking are the usual cause)";
}

std::string_view standing_word(Standing standing) {
  switch (standing) {
    case Standing::kNew:
      return "new";
    case Standing::kProbation:
      return "probation";
    case Standing::kRecord:
      return "record";
    case Standing::kLimited:
      return "limited";
    case Standing::kBanned:
      return "banned";
  }
  return "unknown";
}

}  // namespace mh::scheduler
