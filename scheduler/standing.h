// What a host's results have earned it, and the consequences (rules 20 and 23): how often it is
// checked, whether its word confirms another's, whether it gets work. Every change is logged with
// its evidence. Private to scheduler/coordinator; pure.
#pragma once

#include <algorithm>
#include <iterator>
#include <set>
#include <string>

#include "scheduler/state.h"

namespace mh::scheduler {

// The result that a change comes from; zeros: an admin.
struct Evidence {
  JobId job;
  ResultId result;
};

// A valid result that was not compared with another host's.
void note_unchecked(State& state, HostEntry& host, const Evidence& evidence, TimePoint now);
// One that agreed with another host's.
void note_agreed(State& state, HostEntry& host, const Evidence& evidence, TimePoint now);
// One that differs from the canonical result, or that screening refused while another host's was
// valid. `what` says which: "result 12 of job 3 differs from those of 2 other hosts".
void note_bad(State& state, HostEntry& host, const Evidence& evidence, const std::string& what,
              TimePoint now);
// Rejected by a screen, and nobody knows yet whether others would be.
void note_rejected(HostEntry& host);
// An admin's word: it gets no work until it is forgiven, and is trusted no more.
void ban(State& state, HostEntry& host, const Evidence& evidence, const std::string& why,
         TimePoint now);
// Whether an admin vouches for it; and what follows from that and from being attached.
void set_trust(State& state, HostEntry& host, bool is_trusted);
void follow_trust(State& state, const HostEntry& host);
// What it has goes to others: it is banned or detached.
void return_leases(State& state, HostEntry& host, const std::string& reason, TimePoint now);
// Clears what counts against it; it is new again.
void forgive(State& state, HostEntry& host, TimePoint now);

// An admin trusts it, or its record does.
bool is_reliable(const HostEntry& host);
// Whether one of the first hosts of a set is so: beyond these nobody is looked at, which bounds the
// cost of the question.
inline constexpr std::size_t kHostsLookedAtMax = 64;
template <class Predicate>
bool is_any_of_the_first(const std::set<HostId>& hosts, Predicate is_so) {
  const auto count = static_cast<std::ptrdiff_t>(std::min(hosts.size(), kHostsLookedAtMax));
  return std::any_of(hosts.begin(), std::next(hosts.begin(), count), is_so);
}
// Keeps state.reliable right; call when trust, standing or attachment changed.
void follow_reliable(State& state, const HostEntry& host);
// Rule 20: at least so many reliable hosts called lately that newcomers cannot confirm each other.
bool are_reliable_hosts_active(const State& state, TimePoint now);

// "3 of its last 10 checked results differ": what helps an honest owner.
std::string recent_text(const State& state, const HostEntry& host);
// What its owner should know; empty for a host that is new or has a record.
std::string notice_of(const HostEntry& host);
std::string_view standing_word(Standing standing);

}  // namespace mh::scheduler
