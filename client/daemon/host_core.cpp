// The life of the host: trainer, poll, report, pause and stop. See host_core.h for the rules.
// Every event changes the state, then settle() starts whatever the state calls for.
#include "client/daemon/host_core.h"

#include <algorithm>

#include "proto/base/probe.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;

// Between two polls that brought nothing, whatever the server says: no spinning.
constexpr milliseconds kPollGapLeast{50};
constexpr std::size_t kReportCountMax = 64;
constexpr std::size_t kHeldCountMax = 256;
constexpr std::size_t kHoldingCountMax = 32;
constexpr std::uint32_t kTrainerEndsUntilReturn = 3;

bool means_refused(Errc code) {
  return code == Errc::kUnauthenticated || code == Errc::kPermissionDenied ||
         code == Errc::kFailedPrecondition || code == Errc::kUnimplemented;
}

}  // namespace

HostCore::HostCore(HostCoreOptions options)
    : options_(options),
      trainer_backoff_(derive_key(options.seed, 1), options.trainer_backoff),
      server_backoff_(derive_key(options.seed, 2), options.backoff),
      failure_backoff_(derive_key(options.seed, 3), options.backoff),
      random_(derive_key(options.seed, 4)) {}

void HostCore::log(Severity severity, std::string text) {
  actions_.push_back(Log{severity, std::move(text)});
}

Actions HostCore::start(TimePoint now, std::vector<Report> recovered, bool is_paused) {
  now = steady(now);
  is_paused_ = is_paused;
  if (is_paused) log(Severity::kInfo, "paused by the volunteer; 'manyhands-client resume' goes on");
  recover(now, std::move(recovered));
  return settle(now);
}

// --- Answers of the server. ---

Actions HostCore::exchange_done(TimePoint now, Channel channel, const ExchangeReply& reply) {
  now = steady(now);
  if (mode_ == Mode::kExited) return {};
  ExchangeState& exchange = channel == Channel::kPoll ? poll_ : report_;
  server_answered();
  for (const Verdict& verdict : reply.verdicts) judge(verdict);
  credit_ = reply.credit;
  credit_held_ = reply.credit_held;
  if (reply.notice != notice_ && !reply.notice.empty()) log(Severity::kWarning, reply.notice);
  notice_ = reply.notice;
  end_exchange(now, exchange);
  for (const ResultId result : reply.revoked) revoke(result);
  for (const Assignment& assignment : reply.assignments) take(assignment);
  renew_at_ = now + std::max(milliseconds(1000), shortest_lease() / 3);
  if (channel == Channel::kPoll && exchange.asked_for_work) {
    no_work_reason_ = reply.assignments.empty() ? reply.no_work_reason : std::string();
    exchange.next_at = now;
    if (!reply.revoked.empty()) {
      // A parked poll lists results that were reported meanwhile: it comes back with "revoked". The
      // next one must not list them again, so it waits for the verdict on its way, no longer.
      exchange.waits_for_report = true;
    } else if (reply.assignments.empty()) {
      const auto fifth = static_cast<std::uint64_t>(reply.backoff.count()) / 5;
      exchange.next_at += std::max(kPollGapLeast, reply.backoff) +
                          milliseconds(static_cast<std::int64_t>(random_.below(fifth + 1)));
    }
  }
  return settle(now);
}

Actions HostCore::exchange_failed(TimePoint now, Channel channel, const Error& error,
                                  milliseconds retry_after) {
  now = steady(now);
  if (mode_ == Mode::kExited) return {};
  ExchangeState& exchange = channel == Channel::kPoll ? poll_ : report_;
  if (!exchange.is_cancelled) {
    server_failed(now, error, retry_after);
    // A report that the server cannot even read must not block the others for ever.
    if (error.code == Errc::kInvalidArgument) end_exchange(now, exchange);
  }
  // What the call should have brought is still to be heard.
  if (channel == Channel::kPoll && (exchange.is_cancelled || !exchange.asked_for_work))
    sweep_is_due_ = true;
  description_is_due_ = description_is_due_ || exchange.had_description;
  for (const ResultId result : exchange.reported) {
    if (const auto found = work_.find(result); found != work_.end()) found->second.was_sent = false;
  }
  exchange.reported.clear();
  exchange.is_under_way = false;
  exchange.is_cancelled = false;
  return settle(now);
}

// The call is over; results it reported without getting a verdict are told again, a few times.
void HostCore::end_exchange(TimePoint now, ExchangeState& exchange) {
  exchange.is_under_way = false;
  exchange.is_cancelled = false;
  for (const ResultId result : std::exchange(exchange.reported, {})) {
    const auto found = work_.find(result);
    if (found == work_.end()) continue;
    Work& work = found->second;
    work.was_sent = false;
    work.retry_at = now + milliseconds(1000);
    if (++work.attempt_count < options_.attempt_count_max) continue;
    MH_PROBE("client: a report never gets a verdict");
    log(Severity::kWarning, "result " + to_string(result) + " was reported " +
                                std::to_string(work.attempt_count) +
                                " times without a verdict: giving it up");
    forget(result);
  }
}

void HostCore::server_answered() {
  if (is_server_away_) log(Severity::kInfo, "server is back");
  is_server_away_ = false;
  has_answered_ = true;
  is_refused_ = false;
  server_problem_.clear();
  server_backoff_.reset();
  server_retry_at_ = TimePoint{};
}

void HostCore::server_failed(TimePoint now, const Error& error, milliseconds retry_after) {
  const bool is_refusal = means_refused(error.code);
  // Another reason is news: first the server was away, now it has another key. Waits bound how
  // often.
  if (!is_server_away_ || is_refusal != is_refused_ || error.message != server_problem_) {
    log(is_refusal ? Severity::kError : Severity::kWarning,
        is_refusal ? "the server refuses this host (" + error.message +
                         "); 'manyhands-client attach' joins it anew; asking again now and then"
                   : "server not reachable (" + error.message + "); retrying");
  }
  is_server_away_ = true;
  is_refused_ = is_refusal;
  server_problem_ = error.message;
  if (now < server_retry_at_) return;  // Two calls failed together: that is one failure.
  const milliseconds wait =
      server_backoff_.next() + std::min(retry_after, options_.retry_after_max);
  server_retry_at_ = now + (is_refusal ? options_.refused_wait + wait : wait);
}

// --- The trainer. ---

Actions HostCore::trainer_ready(TimePoint now, TrainerReady trainer) {
  now = steady(now);
  if (trainer_state_ != TrainerState::kStarting) return settle(now);
  if (!trainer.note.empty() && trainer.note != trainer_.note) log(Severity::kWarning, trainer.note);
  log(Severity::kInfo, "trainer is ready: " + trainer.device + " (" + trainer.device_model + "), " +
                           std::to_string(trainer.threads) + " threads");
  trainer_ = std::move(trainer);
  trainer_state_ = TrainerState::kReady;
  trainer_problem_.clear();
  description_is_due_ = true;
  return settle(now);
}

Actions HostCore::trainer_ended(TimePoint now, std::string how) {
  now = steady(now);
  if (trainer_state_ != TrainerState::kStarting && trainer_state_ != TrainerState::kReady)
    return settle(now);
  trainer_state_ = TrainerState::kWaiting;
  const milliseconds wait = std::max(milliseconds(100), trainer_backoff_.next());
  trainer_start_at_ = now + wait;
  trainer_problem_ = "the trainer ended (" + how + ")";
  log(Severity::kWarning, trainer_problem_ + "; starting it again");
  bool is_first = true;
  for (const ResultId result : std::deque<ResultId>(order_)) {
    Work& work = work_.at(result);
    if (work.state != WorkState::kComputing) continue;
    work.state = WorkState::kReady;
    work.samples_done = 0;
    // Only the one it was computing can be to blame, not those in its queue.
    if (!std::exchange(is_first, false)) continue;
    if (++work.trainer_end_count < options_.trainer_end_count_max) continue;
    MH_PROBE("client: two trainers ended with the same workunit");
    ++failed_count_;
    give_up(work, Outcome::kFailed,
            "the trainer ended (" + how + ") " + std::to_string(work.trainer_end_count) +
                " times while computing it");
  }
  if (trainer_backoff_.failure_count() >= kTrainerEndsUntilReturn) {
    MH_PROBE("client: trainers end again and again");
    return_uncomputed(trainer_problem_);
  }
  return settle(now);
}

void HostCore::stop_trainer() {
  if (trainer_state_ == TrainerState::kStarting || trainer_state_ == TrainerState::kReady)
    actions_.push_back(StopTrainer{});
  trainer_state_ = TrainerState::kStopped;
  for (auto& [result, work] : work_) {
    if (work.state == WorkState::kComputing) work.state = WorkState::kReady;
  }
}

void HostCore::advance_trainer(TimePoint now) {
  const bool is_wanted = !is_paused_ && mode_ != Mode::kStopping;
  if (!is_wanted) {
    if (trainer_state_ != TrainerState::kStopped) stop_trainer();
    return;
  }
  if (trainer_state_ == TrainerState::kStopped ||
      (trainer_state_ == TrainerState::kWaiting && is_due(now, trainer_start_at_))) {
    trainer_state_ = TrainerState::kStarting;
    actions_.push_back(StartTrainer{.is_pinned = trainer_is_pinned_});
  }
}

void HostCore::change_trainer(bool is_pinned) {
  MH_PROBE("client: a trainer with other numerics is started");
  stop_trainer();
  trainer_is_pinned_ = is_pinned;
  trainer_state_ = TrainerState::kStarting;
  actions_.push_back(StartTrainer{.is_pinned = is_pinned});
}

// --- The volunteer's wishes. ---

Actions HostCore::pause(TimePoint now) {
  now = steady(now);
  if (is_paused_ || mode_ != Mode::kRunning) return settle(now);
  is_paused_ = true;
  log(Severity::kInfo, "paused");
  cancel_poll();
  stop_trainer();
  return_uncomputed("the volunteer paused the client");
  return settle(now);
}

Actions HostCore::resume(TimePoint now) {
  now = steady(now);
  if (!is_paused_) return settle(now);
  is_paused_ = false;
  ask_not_before_ = TimePoint{};
  trainer_backoff_.reset();
  log(Severity::kInfo, "resumed");
  return settle(now);
}

Actions HostCore::finish(TimePoint now) {
  now = steady(now);
  if (mode_ != Mode::kRunning) return settle(now);
  mode_ = Mode::kFinishing;
  log(Severity::kInfo, "finishing: no new work is taken");
  cancel_poll();
  return settle(now);
}

Actions HostCore::stop(TimePoint now) {
  now = steady(now);
  if (mode_ == Mode::kStopping || mode_ == Mode::kExited) return settle(now);
  mode_ = Mode::kStopping;
  stop_at_ = now + options_.stop_limit;
  log(Severity::kInfo, "stopping");
  cancel_poll();
  stop_trainer();
  return_uncomputed("the client was stopped");
  return settle(now);
}

Actions HostCore::timer(TimePoint now) { return settle(steady(now)); }

void HostCore::cancel_poll() {
  if (!poll_.is_under_way || poll_.is_cancelled) return;
  poll_.is_cancelled = true;
  actions_.push_back(CancelExchange{Channel::kPoll});
}

void HostCore::return_uncomputed(const std::string& why) {
  for (const ResultId result : std::deque<ResultId>(order_)) {
    Work& work = work_.at(result);
    if (work.state < WorkState::kUploading) give_up(work, Outcome::kReturned, why);
  }
}

// --- What the state calls for. ---

// The time of day, made to run forward only.
TimePoint HostCore::steady(TimePoint now) {
  if (last_now_ == TimePoint{}) {
    steady_now_ = now;
  } else if (now < last_now_) {
    MH_PROBE("client: the clock is set back");
  } else {
    steady_now_ += now - last_now_;
  }
  last_now_ = now;
  return steady_now_;
}

std::optional<TimePoint> HostCore::wake_at() const {
  if (!wake_at_) return std::nullopt;
  return last_now_ + (*wake_at_ - steady_now_);
}

Actions HostCore::settle(TimePoint now) {
  wake_at_.reset();
  if (mode_ != Mode::kExited) {
    drop_stale(now);
    advance_trainer(now);
    advance_work(now);
    advance_uploads(now);
    advance_report(now);
    advance_poll(now);
    advance_exit(now);
  }
  return std::exchange(actions_, {});
}

// True if `at` has come; otherwise settle() is called again then.
bool HostCore::is_due(TimePoint now, TimePoint at) {
  if (now >= at) return true;
  wake_at_ = wake_at_ ? std::min(*wake_at_, at) : at;
  return false;
}

// Full jitter; never at once.
milliseconds HostCore::transfer_wait(std::uint32_t failure_count) {
  const auto ceiling = net::backoff_ceiling(options_.transfer_backoff, failure_count).count();
  return milliseconds(
      1 + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(ceiling))));
}

bool HostCore::accepts_work() const { return mode_ == Mode::kRunning && !is_paused_; }

std::uint32_t HostCore::uncomputed_count() const {
  return static_cast<std::uint32_t>(std::count_if(work_.begin(), work_.end(), [](const auto& item) {
    return item.second.state < WorkState::kUploading;
  }));
}

std::chrono::milliseconds HostCore::shortest_lease() const {
  milliseconds shortest = std::chrono::minutes(5);
  for (const auto& [result, work] : work_) {
    if (work.state < WorkState::kReporting && work.assignment.lease.count() > 0)
      shortest = std::min(shortest, work.assignment.lease);
  }
  return shortest;
}

std::vector<ResultId> HostCore::held_except(const std::vector<ResultId>& reported) const {
  std::vector<ResultId> held;
  for (const auto& [result, work] : work_) {
    if (held.size() == kHeldCountMax) break;
    if (std::find(reported.begin(), reported.end(), result) == reported.end())
      held.push_back(result);
  }
  return held;
}

std::vector<DatasetHolding> HostCore::holdings() const {
  std::vector<DatasetHolding> holdings;
  for (const auto& [digest, splits] : manifests_) {
    DatasetHolding holding{digest, 0};
    for (const auto& [split, chunks] : splits) {
      for (const ManifestChunk& chunk : chunks)
        holding.chunk_count += cached_.contains(chunk.digest) || present_.contains(chunk.digest);
    }
    if (holding.chunk_count > 0 && holdings.size() < kHoldingCountMax) holdings.push_back(holding);
  }
  return holdings;
}

void HostCore::start_exchange(Channel channel, ExchangeCall call) {
  ExchangeState& exchange = channel == Channel::kPoll ? poll_ : report_;
  exchange.is_under_way = true;
  exchange.asked_for_work = call.wanted > 0;
  exchange.had_description = call.with_description;
  actions_.push_back(StartExchange{channel, std::move(call)});
}

void HostCore::advance_report(TimePoint now) {
  if (report_.is_under_way) return;
  // A poll asks already whether the server is back.
  if (is_server_away_ && poll_.is_under_way && !poll_.asked_for_work) return;
  ExchangeCall call;
  for (const ResultId result : order_) {
    Work& work = work_.at(result);
    if (work.state != WorkState::kReporting || call.reports.size() == kReportCountMax) continue;
    if (!is_due(now, std::max(work.retry_at, server_retry_at_))) continue;
    call.reports.push_back(work.report);
    report_.reported.push_back(result);
    work.was_sent = true;
  }
  if (call.reports.empty()) return;
  call.held = held_except(report_.reported);
  start_exchange(Channel::kReport, std::move(call));
}

// A call that the server answers at once, if there is anything to hear.
void HostCore::ask_whether_it_is_back(TimePoint now) {
  const bool wants_to_know =
      sweep_is_due_ || !work_.empty() || (accepts_work() && trainer_state_ == TrainerState::kReady);
  if (report_.is_under_way || mode_ == Mode::kStopping || !wants_to_know) return;
  if (!is_due(now, server_retry_at_)) return;
  sweep_is_due_ = false;
  ExchangeCall call;
  call.held = held_except({});
  call.holdings = holdings();
  call.with_description = std::exchange(description_is_due_, false);
  start_exchange(Channel::kPoll, std::move(call));
}

void HostCore::advance_poll(TimePoint now) {
  if (poll_.is_under_way || (poll_.waits_for_report && report_.is_under_way)) return;
  poll_.waits_for_report = false;
  if (is_server_away_) return ask_whether_it_is_back(now);
  const std::uint32_t uncomputed = uncomputed_count();
  ExchangeCall call;
  if (accepts_work() && trainer_state_ == TrainerState::kReady &&
      uncomputed < options_.queue_length && !has_too_much_undelivered() &&
      is_due(now, std::max({poll_.next_at, server_retry_at_, ask_not_before_}))) {
    call.wanted = options_.queue_length - uncomputed;
    call.wait = options_.poll_wait;
    // Leases at hand must be renewed in time.
    if (uncomputed > 0) call.wait = std::min(call.wait, shortest_lease() / 3);
  } else if (mode_ == Mode::kStopping) {
    return;
  } else if (!(sweep_is_due_ && is_due(now, server_retry_at_)) &&
             !(uncomputed > 0 && is_due(now, std::max(renew_at_, server_retry_at_)))) {
    return;
  }
  sweep_is_due_ = false;
  call.held = held_except({});
  call.holdings = holdings();
  call.with_description = std::exchange(description_is_due_, false);
  start_exchange(Channel::kPoll, std::move(call));
}

void HostCore::advance_exit(TimePoint now) {
  if (mode_ == Mode::kRunning) return;
  const bool is_done = work_.empty() && !report_.is_under_way && !poll_.is_under_way;
  const bool is_given_up =
      mode_ == Mode::kStopping && (is_server_away_ || work_.empty() || is_due(now, stop_at_));
  if (!is_done && !is_given_up) return;
  stop_trainer();
  mode_ = Mode::kExited;
  wake_at_.reset();
  actions_.push_back(Exit{});
}

}  // namespace mh::client
