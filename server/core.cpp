// See core.h.
#include "server/core.h"

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proto/base/check.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "server/comparison.h"

namespace mh::server {
namespace {

// Calls held at a time for one host or account.
constexpr std::size_t kHeldPerOwnerMax = 64;
// Blobs taken out of their place in one turn of the strand.
constexpr std::size_t kSweepMax = 32;
// Until the next try while a backup holds the blobs.
constexpr std::chrono::milliseconds kSweepPause{250};
// How long after its last call a host is told to be active.
constexpr std::chrono::milliseconds kActiveWindow{60'000};

}  // namespace

Core::Core(const CoreParts& parts, ServerSnapshot snapshot, std::vector<ManifestPtr> manifests,
           const scheduler::CoordinatorOptions& options)
    : parts_(parts),
      server_id_(std::move(snapshot.server_id)),
      started_(parts.clock.now()),
      coordinator_(options, std::move(snapshot.scheduler), started_),
      accounts_(std::move(snapshot.accounts)),
      turnstile_(parts.strand, parts.limits.working_calls_max),
      parked_(parts.strand, ParkingLimits{parts.limits.held_calls_max, kHeldPerOwnerMax},
              &turnstile_),
      aggregation_(parts.blobs, parts.strand,
                   [this](JobId job, std::uint64_t step, scheduler::StepOutput output) {
                     step_done(job, step, std::move(output));
                   }),
      commits_(parts.store, parts.blobs, parts.strand, parts.pool),
      timer_(parts.strand),
      sweep_timer_(parts.strand),
      keeper_(parts.blobs, parts.strand,
              [this](const Digest& blob) { return coordinator_.is_blob_referenced(blob); }) {
  MH_CHECK(snapshot.datasets.size() == manifests.size());
  for (std::size_t i = 0; i < manifests.size(); ++i) {
    datasets_.add(std::move(snapshot.datasets[i]), std::move(manifests[i]));
  }
}

void Core::start() {
  for (const scheduler::JobView& view : coordinator_.jobs(now())) {
    if (view.row.state == scheduler::JobState::kRunning ||
        view.row.state == scheduler::JobState::kPaused) {
      job_started(view.row.id);
    }
  }
  settle_alone(coordinator_.initial_effects(now()));
  settle_retained();
  tick();
}

void Core::settle_retained() {
  for (const scheduler::JobView& view : coordinator_.jobs(now())) {
    const std::vector<scheduler::RetainedStep> steps = coordinator_.retained_steps(view.row.id);
    const auto lost = std::find_if(steps.rbegin(), steps.rend(), [this](const auto& step) {
      return !std::all_of(step.blobs.begin(), step.blobs.end(),
                          [this](const Digest& blob) { return parts_.blobs.contains(blob); });
    });
    if (lost == steps.rend()) continue;
    log_warn("blobs of past steps are gone: these steps can no longer be audited or taken back",
             {{"job", view.row.id}, {"up_to_step", lost->step}});
    settle_alone(coordinator_.give_up_retained(view.row.id, lost->sequence));
  }
  settle_alone(coordinator_.limit_retained());
}

std::uint32_t Core::active_host_count() const {
  return coordinator_.active_host_count(now(), kActiveWindow);
}

void Core::stop() {
  is_stopping_ = true;
  timer_.cancel();
  sweep_timer_.cancel();
  parked_.stop();
  keeper_.stop();
}

asio::awaitable<void> Core::commit(Transaction transaction) {
  if (transaction.is_empty() && commits_.in_flight() == 0) co_return;
  QueuedTransition transition;
  transition.transaction = std::move(transaction);
  co_await commit_transition(std::move(transition));
}

asio::awaitable<void> Core::commit_transition(QueuedTransition transition) {
  // Nobody waits for these alone.
  accounts_.take_used_tokens(transition.transaction.tokens);
  auto initiate = [this](auto handler, QueuedTransition queued) {
    // Handlers are move-only; std::function wants copies.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto committed = [shared] {
      auto resume = std::move(*shared);
      std::move(resume)();
    };
    commits_.push(std::move(queued), std::move(committed));
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      initiate, asio::use_awaitable, std::move(transition));
}

QueuedTransition Core::transition_of(Transaction transaction,
                                     const scheduler::Effects& effects) const {
  QueuedTransition transition;
  transition.transaction = std::move(transaction);
  for (const scheduler::UpdateAccepted& update : effects.updates_accepted)
    transition.updates.push_back(update.update_digest);
  transition.updates.insert(transition.updates.end(), effects.updates_reported.begin(),
                            effects.updates_reported.end());
  for (const scheduler::StepReady& step : effects.steps_ready) {
    transition.aggregating.insert(transition.aggregating.end(), step.update_digests.begin(),
                                  step.update_digests.end());
  }
  return transition;
}

void Core::follow_timer(std::optional<TimePoint> wake_at) {
  if (wake_at == wake_at_ || is_stopping_) return;
  wake_at_ = wake_at;
  if (!wake_at) {
    timer_.cancel();
    return;
  }
  timer_.expires_after(std::max(std::chrono::milliseconds(0), *wake_at - now()));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !is_stopping_) tick();
  });
}

void Core::tick() {
  wake_at_.reset();
  settle_alone(coordinator_.tick(now()));
}

void Core::settle_alone(scheduler::Decision<scheduler::Nothing> decision,
                        std::vector<Digest> consumed) {
  follow_timer(decision.wake_at);
  begin_effects(decision.effects);
  if (decision.changes.is_empty() && commits_.in_flight() == 0) {
    finish_effects(std::move(decision.effects));
    return;
  }
  Transaction transaction;
  transaction.changes = std::move(decision.changes);
  QueuedTransition transition = transition_of(std::move(transaction), decision.effects);
  transition.consumed = std::move(consumed);
  auto finish = [this, effects = std::move(decision.effects)] { finish_effects(effects); };
  commits_.push(std::move(transition), std::move(finish));
}

void Core::begin_effects(const scheduler::Effects& effects) {
  if (is_stopping_) return;
  for (const JobId job : effects.jobs_rewound) {
    aggregation_.forget(job);
    aggregating_.erase(job);
    job_started(job);
  }
  for (const scheduler::UpdateAccepted& update : effects.updates_accepted) {
    aggregation_.update_accepted(update);
  }
  for (const scheduler::StepReady& step : effects.steps_ready) {
    aggregating_[step.job] = step.update_digests;
    aggregation_.step_ready(step);
  }
  for (const scheduler::Comparison& comparison : effects.comparisons)
    asio::co_spawn(parts_.strand, compare(comparison), asio::detached);
  // What a woken call is given is committed after this decision, and it is answered after that.
  if (effects.is_work_available) parked_.wake_first(kWorkKey);
}

void Core::finish_effects(scheduler::Effects effects) {
  for (const JobId job : effects.jobs_ended) {
    aggregation_.forget(job);
    aggregating_.erase(job);
  }
  for (const JobId job : effects.jobs_changed) parked_.wake_all(job.value());
  release_blobs(std::move(effects.blobs_unreferenced));
  std::erase_if(effects.updates_unused,
                [this](const Digest& blob) { return !parts_.host_uploads.contains(blob); });
  release_blobs(std::move(effects.updates_unused));
}

void Core::hold_job(JobId job, bool is_held) {
  if (!is_stopping_) settle_alone(coordinator_.hold(job, is_held));
}

void Core::job_started(JobId job) {
  if (aggregation_.knows(job)) return;
  const auto view = coordinator_.job(job, now());
  MH_CHECK(view.has_value());
  aggregation_.begin(job, view->row.job_digest, view->row.manifest_digest);
}

asio::awaitable<void> Core::compare(scheduler::Comparison comparison) {
  const Result<JobModelPtr> model = co_await job_model(comparison.job);
  std::optional<scheduler::Distance> distance;
  if (model) {
    auto measure = [&blobs = parts_.blobs, model = *model, comparison] {
      return compare_updates(blobs, *model, comparison);
    };
    const Result<scheduler::Distance> measured =
        co_await net::run_on(parts_.pool, std::move(measure));
    if (measured) distance = *measured;
  }
  if (is_stopping_) co_return;
  if (!distance) {
    log_error(
        "two updates cannot be compared; their workunit is computed anew",
        {{"job", comparison.job}, {"first", comparison.first}, {"second", comparison.second}});
  }
  settle_alone(coordinator_.compared(comparison.first, comparison.second, distance, now()));
}

void Core::step_done(JobId job, std::uint64_t step, scheduler::StepOutput output) {
  if (is_stopping_) return;
  const auto is_there = [this](const Digest& blob) {
    return blob.is_zero() || parts_.blobs.contains(blob);
  };
  if (output.failure.empty() &&
      !(is_there(output.parameters_digest) && is_there(output.optimizer_digest))) {
    // An equal blob of another job was released a moment after it was published (rule 4).
    for (scheduler::StepReady& again : coordinator_.initial_effects(now()).effects.steps_ready) {
      if (again.job == job) aggregation_.step_ready(std::move(again));
    }
    return;
  }
  std::vector<Digest> consumed = std::move(aggregating_[job]);
  aggregating_.erase(job);
  keeper_.keep(consumed);
  settle_alone(coordinator_.step_completed(job, step, output, now()), std::move(consumed));
}

asio::awaitable<Result<JobModelPtr>> Core::job_model(JobId job) {
  const auto view = coordinator_.job(job, now());
  if (!view) co_return fail(Errc::kNotFound, "there is no job " + to_string(job));
  if (JobModelPtr model = models_.find(view->row.job_digest)) co_return model;
  auto load = [this, job_digest = view->row.job_digest, manifest = view->row.manifest_digest] {
    return load_job_model(parts_.blobs, job_digest, manifest);
  };
  Result<JobModelPtr> model = co_await net::run_on(parts_.pool, std::move(load));
  if (model) models_.keep(view->row.job_digest, *model);
  co_return model;
}

bool Core::is_blob_needed(const Digest& blob) const {
  return coordinator_.is_blob_referenced(blob) || datasets_.is_blob_used(blob) ||
         std::find(exports_.begin(), exports_.end(), blob) != exports_.end();
}

void Core::keep_export(const Digest& blob) {
  std::erase(exports_, blob);
  exports_.push_back(blob);
  if (exports_.size() <= kExportsMax) return;
  const Digest oldest = exports_.front();
  exports_.pop_front();
  release_blobs({oldest});
}

void Core::release_blobs(std::vector<Digest> blobs) {
  unneeded_.insert(unneeded_.end(), blobs.begin(), blobs.end());
  if (unneeded_.empty() || is_sweeping_) return;
  is_sweeping_ = true;
  asio::post(parts_.strand, [this] { sweep(); });
}

void Core::sweep() {
  const auto turn = parts_.blobs.begin_deletion();
  if (!turn) {
    sweep_timer_.expires_after(kSweepPause);
    sweep_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error && !is_stopping_) sweep();
    });
    return;
  }
  std::vector<std::filesystem::path> taken;
  for (std::size_t i = 0; i < kSweepMax && !unneeded_.empty(); ++i) {
    const Digest blob = unneeded_.front();
    unneeded_.pop_front();
    if (is_blob_needed(blob)) continue;
    if (auto file = parts_.blobs.take_out(blob)) taken.push_back(*std::move(file));
  }
  asio::post(parts_.pool,
             [&blobs = parts_.blobs, taken = std::move(taken)] { blobs.recycle(taken); });
  is_sweeping_ = !unneeded_.empty();
  if (is_sweeping_) asio::post(parts_.strand, [this] { sweep(); });
}

}  // namespace mh::server
