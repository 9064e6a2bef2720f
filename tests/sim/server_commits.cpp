// See server.h. Here: decisions, commits, crashes, aggregation, blobs, the admin.
#include <algorithm>

#include "proto/base/check.h"
#include "tests/sim/digests.h"
#include "tests/sim/server.h"

namespace mh::sim {
namespace {

// Transitions in one group, as the real store takes.
constexpr std::size_t kGroupMax = 256;
// What a restart reads of ended results.
constexpr std::size_t kEndedResults = 4'000;
constexpr milliseconds kDiskRetry{1'000};
// Probability that an upload that nobody counted yet outlives a crash of the machine.
constexpr double kUploadSurvives = 0.5;

}  // namespace

milliseconds Server::draw(double mean_ms) {
  return milliseconds(static_cast<std::int64_t>(random_.exponential(mean_ms)));
}

void Server::schedule(EventKind kind, milliseconds delay, std::uint64_t subject) {
  Event event;
  event.kind = kind;
  event.life = life_;
  event.subject = subject;
  events_.schedule_in(delay, event);
}

void Server::note(std::uint64_t word) { digest_ = derive_key(digest_, word, counts_.decisions); }

// ---- Decisions ----

void Server::follow(scheduler::Changes changes, const scheduler::Effects& effects,
                    std::optional<TimePoint> wake_at, Transition transition) {
  ++counts_.decisions;
  note(changes.results.size() + 7 * changes.workunits.size() + 31 * effects.steps_ready.size());
  if (environment_.trace.is_kept()) trace(changes);
  for (const scheduler::ResultRow& row : changes.results) {
    note(row.id.value() ^ (static_cast<std::uint64_t>(row.state) << 56));
  }
  follow_timer(wake_at);
  begin_effects(effects);
  transition.changes = std::move(changes);
  for (const scheduler::UpdateAccepted& update : effects.updates_accepted) {
    transition.counted_blobs.push_back(update.update_digest);
  }
  transition.counted_blobs.insert(transition.counted_blobs.end(), effects.updates_reported.begin(),
                                  effects.updates_reported.end());
  transition.unneeded = effects.blobs_unreferenced;
  transition.unused_updates = effects.updates_unused;
  push(std::move(transition));
}

void Server::follow_timer(std::optional<TimePoint> wake_at) {
  if (wake_at == wake_at_) return;
  wake_at_ = wake_at;
  if (!wake_at) return;
  // A time that has passed is looked at now.
  wake_at_ = std::max(*wake_at, events_.now());
  schedule(EventKind::kTick, *wake_at_ - events_.now(), 0);
}

void Server::begin_effects(const scheduler::Effects& effects) {
  for (const scheduler::StepReady& step : effects.steps_ready) begin_aggregation(step);
  for (const scheduler::Comparison& comparison : effects.comparisons) {
    for (const Digest& blob : {comparison.first_digest, comparison.second_digest}) {
      if (!blobs_.contains(blob)) throw Violation("blobs", "an update to compare is gone");
    }
    schedule(EventKind::kCompared, draw(scenario_.screen_ms), comparisons_.add(comparison));
  }
  if (effects.is_work_available) wake_first();
}

void Server::trace(const scheduler::Changes& changes) {
  static constexpr std::string_view kResultStates[] = {
      "?",       "leased",   "valid",    "rejected", "failed", "returned",
      "expired", "obsolete", "reported", "agreed",   "undone"};
  static constexpr std::string_view kJobStates[] = {"?",        "running",   "paused",
                                                    "finished", "cancelled", "failed"};
  for (const scheduler::ResultRow& row : changes.results) {
    environment_.trace.add(
        events_.now(), "  result " + to_string(row.id) + " (workunit " + to_string(row.workunit) +
                           ", host id " + to_string(row.host) + ") is " +
                           std::string(kResultStates[static_cast<std::size_t>(row.state)]));
  }
  for (const scheduler::JobRow& row : changes.jobs) {
    environment_.trace.add(events_.now(),
                           "  job " + to_string(row.id) + " is " +
                               std::string(kJobStates[static_cast<std::size_t>(row.state)]) +
                               " at step " + std::to_string(row.step));
  }
}

// ---- Commits ----

void Server::push(Transition transition) {
  if (transition.changes.is_empty() && queue_.empty()) {
    std::vector<Transition> group;
    group.push_back(std::move(transition));
    return finish_group(std::move(group));
  }
  queue_.push_back(std::move(transition));
  begin_commit();
}

void Server::begin_commit() {
  if (in_commit_ > 0 || queue_.empty() || is_disk_full_) return;
  in_commit_ = std::min(queue_.size(), kGroupMax);
  schedule(EventKind::kCommitted, draw(scenario_.commit_ms), 0);
}

void Server::committed() {
  if (!environment_.is_healed && random_.chance(scenario_.crash_at_commit)) {
    return crash(random_.chance(scenario_.torn));
  }
  ++counts_.commits;
  std::vector<Transition> group;
  for (std::size_t i = 0; i < in_commit_; ++i) {
    write(queue_.front());
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  in_commit_ = 0;
  begin_commit();
  finish_group(std::move(group));
}

void Server::write(const Transition& transition) {
  durable_.apply(transition.changes);
  for (const Digest& blob : transition.counted_blobs) {
    if (const auto found = blobs_.find(blob); found != blobs_.end())
      found->second.is_durable = true;
  }
  if (transition.attached) {
    durable_secrets_[transition.attached->first.host] = transition.attached->second;
  }
}

void Server::finish_group(std::vector<Transition> group) {
  for (const Transition& transition : group) {
    delete_unneeded(transition);
    if (transition.attached) {
      network_.answer_attach(transition.attached->first, transition.attached->second);
    }
    if (transition.call != 0) answered(transition.call);
  }
}

void Server::delete_unneeded(const Transition& transition) {
  for (const Digest& blob : transition.unneeded) {
    if (!coordinator_->is_blob_referenced(blob)) blobs_.erase(blob);
  }
  for (const Digest& blob : transition.unused_updates) {
    const auto found = blobs_.find(blob);
    if (found == blobs_.end() || !found->second.is_upload) continue;
    if (!coordinator_->is_blob_referenced(blob)) blobs_.erase(found);
  }
}

// ---- Crashes and restarts ----

void Server::start() { start_again(); }

void Server::start_again() {
  const TimePoint now = events_.now();
  coordinator_ =
      std::make_unique<scheduler::Coordinator>(options_, durable_.snapshot(kEndedResults), now);
  coordinator_->sanity_check();
  account_.restart(durable_, now);
  secrets_ = durable_secrets_;
  scheduler::Decision<scheduler::Nothing> decision = coordinator_->initial_effects(now);
  account_.check_start(decision.effects);
  follow({}, decision.effects, decision.wake_at, {});
  account_.expect_no_call();
  settle(coordinator_->tick(now), true);
}

void Server::crash(bool is_torn) {
  if (!is_up()) return;
  if (is_settled()) compare_restart();
  ++counts_.crashes;
  environment_.trace.add(events_.now(), is_torn ? "the server crashes; what it wrote is lost"
                                                : "the server crashes; what it wrote is there");
  if (!is_torn) {
    // It was written; nobody was told.
    for (std::size_t i = 0; i < in_commit_; ++i) write(queue_[i]);
  }
  queue_.clear();
  in_commit_ = 0;
  coordinator_.reset();
  ++life_;
  wake_at_.reset();
  parked_.clear();
  next_to_wake_ = parked_.end();
  open_calls_.clear();
  for (const std::uint64_t handle : calls_.handles()) {
    const Call call = *calls_.take(handle);
    if (!call.is_abandoned) {
      network_.answer(call.message, fail(Errc::kUnavailable, "the server crashed"));
    }
  }
  for (const std::uint64_t handle : aggregations_.handles()) aggregations_.take(handle);
  lose_uploads();
  schedule(EventKind::kServerStart, draw(scenario_.down_time * 1000), 0);
}

void Server::lose_uploads() {
  std::vector<Digest> lost;
  for (const auto& [digest, blob] : blobs_) {
    if (!blob.is_durable) lost.push_back(digest);
  }
  // In an order of their own: the map's is none.
  std::sort(lost.begin(), lost.end());
  for (const Digest& digest : lost) {
    if (!random_.chance(kUploadSurvives)) blobs_.erase(digest);
  }
}

void Server::set_disk_full(bool is_full) {
  is_disk_full_ = is_full;
  if (is_up()) begin_commit();
}

void Server::compare_restart() {
  if (!is_settled()) return;
  const TimePoint now = events_.now();
  const scheduler::Coordinator other(options_, durable_.snapshot(kEndedResults), now);
  other.sanity_check();
  const auto differ = [](const std::string& what) {
    throw Violation("restart", what + " is another one after a restart");
  };
  if (other.referenced_blobs() != coordinator_->referenced_blobs()) differ("the list of blobs");
  const auto jobs = coordinator_->jobs(now);
  const auto jobs_after = other.jobs(now);
  if (jobs.size() != jobs_after.size()) differ("the number of jobs");
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].row != jobs_after[i].row ||
        jobs[i].workunit_count != jobs_after[i].workunit_count ||
        jobs[i].workunit_done_count != jobs_after[i].workunit_done_count) {
      differ("job " + to_string(jobs[i].row.id));
    }
  }
  const auto hosts = coordinator_->hosts();
  const auto hosts_after = other.hosts();
  if (hosts.size() != hosts_after.size()) differ("the number of hosts");
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    if (hosts[i].row != hosts_after[i].row || hosts[i].lease_count != hosts_after[i].lease_count) {
      differ("host " + to_string(hosts[i].id));
    }
  }
}

void Server::check_all() {
  if (!is_up()) return;
  coordinator_->sanity_check();
  account_.check_durable(durable_);
}

bool Server::has_ended() const {
  return !durable_.jobs.empty() &&
         std::none_of(durable_.jobs.begin(), durable_.jobs.end(), [](const auto& entry) {
           return entry.second.state == scheduler::JobState::kRunning ||
                  entry.second.state == scheduler::JobState::kPaused;
         });
}

// ---- Aggregation ----

void Server::begin_aggregation(const scheduler::StepReady& step) {
  std::vector<Digest> inputs = step.update_digests;
  inputs.push_back(step.parameters_digest);
  if (!step.optimizer_digest.is_zero()) inputs.push_back(step.optimizer_digest);
  for (const Digest& input : inputs) {
    if (!blobs_.contains(input)) {
      throw Violation("blobs", "an input of step " + std::to_string(step.step) + " of job " +
                                   to_string(step.job) + " is gone");
    }
  }
  check_checked(step);
  Aggregation aggregation;
  aggregation.job = step.job;
  aggregation.step = step.step;
  aggregation.parameters = parameters_after(step.parameters_digest, step.update_digests);
  aggregation.optimizer =
      blob_name(BlobPurpose::kOptimizer, first_word(aggregation.parameters), step.step);
  schedule(EventKind::kAggregated, draw(scenario_.aggregation_ms), aggregations_.add(aggregation));
}

void Server::check_checked(const scheduler::StepReady& step) const {
  const Rows& rows = account_.rows();
  if (rows.job(step.job)->validation.mode != scheduler::ValidationMode::kAll) return;
  for (const auto* workunit : rows.group({step.job, scheduler::WorkKind::kGradient, step.step})) {
    const scheduler::ResultRow* result = rows.result(workunit->canonical);
    if (result == nullptr || ever_trusted_.contains(result->host)) continue;
    if (environment_.wrong_updates.contains(result->update_digest)) {
      throw Violation("checked", "step " + std::to_string(step.step) + " of job " +
                                     to_string(step.job) + " takes the wrong result " +
                                     to_string(result->id));
    }
  }
}

// Simulated hosts are of one device class: other bits are other numbers.
void Server::compared(std::uint64_t handle) {
  const scheduler::Comparison comparison = *comparisons_.take(handle);
  account_.expect_no_call();
  settle(coordinator_->compared(comparison.first, comparison.second, scheduler::Distance{1.5, 1},
                                events_.now()),
         false);
}

void Server::aggregated(std::uint64_t handle) {
  if (is_disk_full_) return schedule(EventKind::kAggregated, kDiskRetry, handle);
  const Aggregation aggregation = *aggregations_.take(handle);
  blobs_[aggregation.parameters] = {};
  blobs_[aggregation.optimizer] = {};
  scheduler::StepOutput output;
  output.parameters_digest = aggregation.parameters;
  output.optimizer_digest = aggregation.optimizer;
  output.gradient_norm = 1;
  output.learning_rate = 0.1;
  ++counts_.steps;
  account_.expect_no_call();
  settle(coordinator_->step_completed(aggregation.job, aggregation.step, output, events_.now()),
         false);
}

// ---- Doors ----

Status Server::take_upload(const Digest& blob, bool is_wrong) {
  if (!is_up()) return fail(Errc::kUnavailable, "the server is down");
  if (is_disk_full_) return fail(Errc::kResourceExhausted, "the server's disk is full");
  if (!blobs_.contains(blob)) {
    blobs_[blob] = {.is_durable = false, .is_wrong = is_wrong, .is_upload = true};
  }
  return {};
}

Status Server::find_blob(const Digest& blob) const {
  if (!is_up()) return fail(Errc::kUnavailable, "the server is down");
  if (blobs_.contains(blob)) return {};
  return fail(Errc::kNotFound, "there is no such blob");
}

JobId Server::submit(const scheduler::JobSubmission& job) {
  account_.expect_no_call();
  const auto submitted = settle(coordinator_->submit_job(job, events_.now()), false);
  MH_CHECK(submitted.has_value());
  return submitted->job;
}

void Server::update_job(JobId job, scheduler::JobAction action, std::uint32_t priority) {
  if (!is_up()) return;
  account_.expect_no_call();
  static_cast<void>(settle(coordinator_->update_job(job, action, priority, events_.now()), false));
}

void Server::set_trust(HostId host, bool is_trusted) {
  if (!is_up()) return;
  if (is_trusted) ever_trusted_.insert(host);
  account_.expect_no_call();
  static_cast<void>(settle(coordinator_->set_trust(host, is_trusted, events_.now()), false));
}

void Server::detach(HostId host) {
  if (!is_up()) return;
  account_.expect_no_call();
  static_cast<void>(settle(coordinator_->detach(host, events_.now()), false));
}

}  // namespace mh::sim
