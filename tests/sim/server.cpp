// See server.h. Here: calls, from their arrival to their answer.
#include "tests/sim/server.h"

#include <algorithm>

#include "tests/sim/messages.h"

namespace mh::sim {
namespace {

milliseconds to_ms(double seconds) {
  return milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

std::uint32_t to_count(double number) { return static_cast<std::uint32_t>(number); }

// As server/parked_calls: calls that look in vain before a wake gives up.
constexpr std::size_t kFruitlessMax = 256;

}  // namespace

scheduler::CoordinatorOptions options_of(const Scenario& scenario) {
  scheduler::CoordinatorOptions options;
  options.quota_start = to_count(scenario.quota_start);
  options.quota_max = std::max(options.quota_start, to_count(scenario.quota_max));
  options.copies_max = to_count(scenario.copies_max);
  options.lease_min = to_ms(scenario.lease_min);
  options.lease_unknown = to_ms(scenario.lease_unknown);
  options.lease_age_min = to_ms(scenario.lease_age_min);
  options.resend_after = to_ms(scenario.resend_after);
  options.own_copy_wait = to_ms(scenario.own_copy_wait);
  options.evaluations_pending_max = to_count(scenario.evaluations_pending);
  options.checkpoints_kept = to_count(scenario.checkpoints_kept);
  options.checkpoint_every = to_count(scenario.checkpoint_every);
  options.finished_results_kept = to_count(scenario.ended_kept);
  options.failed_hosts_max = to_count(scenario.failed_hosts);
  options.failures_max = to_count(scenario.failures);
  options.record_after = to_count(scenario.record_after);
  options.steps_retained = 2;
  // Hosts whose calls are held count as active.
  options.active_window =
      std::max(options.active_window, to_ms(scenario.poll_wait) + milliseconds(5'000));
  return options;
}

Server::Server(Environment& environment, Network& network, std::uint64_t seed)
    : environment_(environment),
      scenario_(environment.scenario),
      events_(environment.events),
      network_(network),
      random_(seed, Purpose::kServer),
      options_(options_of(scenario_)),
      account_(options_, scenario_.keeps_history > 0),
      durable_(scenario_.keeps_history > 0) {}

void Server::handle(const Event& event) {
  const bool is_message = event.kind == EventKind::kRequest ||
                          event.kind == EventKind::kAttachRequest ||
                          event.kind == EventKind::kCallerGone;
  if (!is_message && event.life != life_) return;
  switch (event.kind) {
    case EventKind::kRequest:
      return receive(event);
    case EventKind::kAttachRequest:
      return receive_attach(event);
    case EventKind::kCallerGone:
      return caller_gone(event);
    case EventKind::kScreened:
      return screened(event.subject);
    case EventKind::kCommitted:
      return committed();
    case EventKind::kParkTimer:
      return park_timer(event.subject);
    case EventKind::kParkWoken:
      return woken(event.subject);
    case EventKind::kTick:
      if (wake_at_ != event.time) return;
      wake_at_.reset();
      account_.expect_no_call();
      settle(coordinator_->tick(events_.now()), true);
      return;
    case EventKind::kAggregated:
      return aggregated(event.subject);
    case EventKind::kCompared:
      return compared(event.subject);
    case EventKind::kServerStart:
      return start_again();
    default:
      return;
  }
}

void Server::receive(const Event& event) {
  CallMessage message = *network_.calls.take(event.subject);
  if (!is_up()) {
    return network_.answer(message, fail(Errc::kUnavailable, "the server is down"));
  }
  message.event.received = events_.now();
  const bool has_updates = std::any_of(message.event.reports.begin(), message.event.reports.end(),
                                       [](const scheduler::Report& report) {
                                         return report.outcome == scheduler::Outcome::kSuccess;
                                       });
  Call call;
  call.message = std::move(message);
  const std::uint64_t number = call.message.call;
  const bool is_copy = call.message.is_copy;
  const std::uint64_t handle = calls_.add(std::move(call));
  if (!is_copy) open_calls_[number] = handle;
  if (!has_updates) return ask(handle);
  schedule(EventKind::kScreened, draw(scenario_.screen_ms), handle);
}

void Server::receive_attach(const Event& event) {
  const AttachMessage message = *network_.attaches.take(event.subject);
  if (!is_up()) return network_.fail_attach(message.from);
  const auto known = secrets_.find(message.from.host);
  std::optional<HostId> host;
  if (known != secrets_.end()) host = known->second;
  account_.expect_no_call();
  auto decision = coordinator_->attach(host, message.description, {}, events_.now());
  if (!decision.reply) return network_.fail_attach(message.from);
  const HostId id = *decision.reply;
  secrets_[message.from.host] = id;
  Transition transition;
  transition.attached = {message.from, id};
  static_cast<void>(settle(std::move(decision), false, std::move(transition)));
}

void Server::screened(std::uint64_t handle) {
  Call* call = calls_.find(handle);
  if (call == nullptr) return;
  screen(call->message.event);
  ask(handle);
}

// As server/screening: is the update there, and are its numbers finite?
void Server::screen(scheduler::ExchangeEvent& event) {
  for (scheduler::Report& report : event.reports) {
    if (report.outcome != scheduler::Outcome::kSuccess) continue;
    const auto info = coordinator_->result_info(event.host, report.result);
    if (!info || !info->is_wanted || info->kind == scheduler::WorkKind::kEvaluation) continue;
    if (report.update_digest.is_zero()) {
      report.screening = scheduler::Screening::kRefused;
      report.screening_reason = "the report names no update";
      continue;
    }
    const auto blob = blobs_.find(report.update_digest);
    if (blob == blobs_.end()) {
      report.screening = scheduler::Screening::kMissing;
    } else if (blob->second.is_wrong) {
      report.screening = scheduler::Screening::kRefused;
      report.screening_reason = "the update has numbers that are not finite";
    }
  }
}

void Server::ask(std::uint64_t handle) {
  Call& call = *calls_.find(handle);
  scheduler::ExchangeEvent& event = call.message.event;
  account_.expect(event);
  auto decision = coordinator_->exchange(event, events_.now());
  ++counts_.exchanges;
  if (!decision.reply) {
    const Error error = decision.reply.error();
    static_cast<void>(settle(std::move(decision), false));
    network_.answer(forget(handle).message, error);
    return;
  }
  call.reply = *decision.reply;
  bool passes_on = call.is_parked && !call.reply.is_drained;
  if (passes_on && call.reply.assignments.empty()) {
    if (next_to_wake_ == call.place) ++next_to_wake_;
    parked_.splice(parked_.end(), parked_, call.place);
    passes_on = ++fruitless_ < kFruitlessMax;
  }
  Transition transition;
  transition.call = handle;
  const scheduler::ExchangeEvent asked = event;
  event.reports.clear();
  event.description.reset();
  // Pushing may answer at once and with that end the call.
  const Result<scheduler::ExchangeReply> reply =
      settle(std::move(decision), true, std::move(transition), &asked);
  if (passes_on) wake_next();
}

// The decision about a call is on disk.
void Server::answered(std::uint64_t handle) {
  Call* call = calls_.find(handle);
  if (call == nullptr) return;
  const bool may_wait = call->reply.is_parkable() && call->message.hold.count() > 0 &&
                        !call->is_abandoned &&
                        (!call->is_parked || events_.now() < call->hold_until);
  if (may_wait) return park(handle);
  finish(handle);
}

void Server::finish(std::uint64_t handle) {
  const Call call = forget(handle);
  if (call.is_abandoned) return;
  if (!call.message.is_copy) account_.acknowledge(call.message.event.host, call.reply);
  network_.answer(call.message, to_client(call.reply));
}

void Server::park(std::uint64_t handle) {
  Call& call = *calls_.find(handle);
  const TimePoint now = events_.now();
  if (!call.is_parked) {
    call.is_parked = true;
    call.hold_until = now + call.message.hold;
    call.wave = wave_;
    call.place = parked_.insert(parked_.end(), handle);
  }
  call.is_waiting = true;
  if (call.is_woken) return schedule(EventKind::kParkWoken, milliseconds(0), handle);
  call.timer_at = call.hold_until;
  if (call.reply.retry_at) call.timer_at = std::clamp(*call.reply.retry_at, now, call.hold_until);
  schedule(EventKind::kParkTimer, call.timer_at - now, handle);
}

void Server::unpark(Call& call) {
  if (!call.is_parked) return;
  if (next_to_wake_ == call.place) ++next_to_wake_;
  parked_.erase(call.place);
  call.is_parked = false;
}

void Server::park_timer(std::uint64_t handle) {
  Call* call = calls_.find(handle);
  if (call == nullptr || !call->is_waiting || call->timer_at != events_.now()) return;
  call->is_waiting = false;
  call->wave = wave_;
  ask(handle);
}

void Server::woken(std::uint64_t handle) {
  Call* call = calls_.find(handle);
  if (call == nullptr || !call->is_waiting || !call->is_woken) return;
  call->is_woken = false;
  call->is_waiting = false;
  call->wave = wave_;
  ask(handle);
}

void Server::wake_first() {
  ++wave_;
  fruitless_ = 0;
  next_to_wake_ = parked_.begin();
  wake_next();
}

// Calls before next_to_wake_ have looked in this wave, or will.
void Server::wake_next() {
  for (; next_to_wake_ != parked_.end(); ++next_to_wake_) {
    Call& call = *calls_.find(*next_to_wake_);
    if (call.is_woken || call.wave == wave_) continue;
    call.wave = wave_;
    call.is_woken = true;
    const std::uint64_t handle = *next_to_wake_;
    ++next_to_wake_;
    if (call.is_waiting) schedule(EventKind::kParkWoken, milliseconds(0), handle);
    return;
  }
}

// The client has closed the connection. Nobody would hear the answer.
void Server::caller_gone(const Event& event) {
  const auto open = open_calls_.find(event.subject);
  if (open == open_calls_.end()) return;
  const std::uint64_t handle = open->second;
  Call& call = *calls_.find(handle);
  call.is_abandoned = true;
  if (call.is_waiting) finish(handle);
}

Server::Call Server::forget(std::uint64_t handle) {
  Call call = *calls_.take(handle);
  unpark(call);
  if (!call.message.is_copy) open_calls_.erase(call.message.call);
  return call;
}

}  // namespace mh::sim
