// See aggregation_runner.h.
#include "server/aggregation_runner.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <map>

#include "proto/base/log.h"
#include "server/job_aggregation.h"

namespace mh::server {
namespace {

// What may be gone in a second: a full disk, too many files open, an operating system that failed
// once.
bool is_passing(const Error& error) {
  return error.code == Errc::kResourceExhausted || error.code == Errc::kInternal ||
         error.code == Errc::kUnavailable;
}

// A job, shared between the state strand (which forgets it) and its own strand.
struct Run {
  Run(asio::thread_pool& pool, BlobStore& blobs, JobId id, const Digest& job,
      const Digest& manifest)
      : job_id(id), strand(pool.get_executor()), retry(strand), aggregation(blobs, job, manifest) {}

  const JobId job_id;
  asio::strand<asio::thread_pool::executor_type> strand;
  std::atomic<bool> is_forgotten{false};
  // Used on the strand.
  asio::steady_timer retry;
  JobAggregation aggregation;
  bool has_failed = false;
};

}  // namespace

struct AggregationRunner::Impl {
  Impl(BlobStore& store, asio::any_io_executor state_strand, StepDone step_done,
       AggregationOptions aggregation_options)
      : blobs(store),
        home(std::move(state_strand)),
        done(std::move(step_done)),
        options(aggregation_options),
        pool(options.threads) {}

  void complete(const std::shared_ptr<Run>& run, const scheduler::StepReady& step) {
    if (run->is_forgotten) return;
    Result<scheduler::StepOutput> output = run->aggregation.complete(step);
    if (output) {
      if (run->has_failed) log_info("step published after all", {{"job", run->job_id}});
      run->has_failed = false;
      return tell(run, step.step, *std::move(output));
    }
    if (!is_passing(output.error())) {
      scheduler::StepOutput failed;
      failed.failure = output.error().message;
      return tell(run, step.step, std::move(failed));
    }
    if (!run->has_failed) {
      log_error("a step cannot be published; trying again until it works",
                {{"job", run->job_id}, {"step", step.step}, {"error", output.error().message}});
    }
    run->has_failed = true;
    run->retry.expires_after(options.retry_pause);
    run->retry.async_wait([this, run, step](const boost::system::error_code& error) {
      if (!error) complete(run, step);
    });
  }

  void tell(const std::shared_ptr<Run>& run, std::uint64_t step, scheduler::StepOutput output) {
    // Weak: what waits on `home` may outlive the pool that the run's timer belongs to.
    const std::weak_ptr<Run> alive = run;
    asio::post(home, [this, alive, job = run->job_id, step, output = std::move(output)]() mutable {
      const std::shared_ptr<Run> still = alive.lock();
      if (still != nullptr && !still->is_forgotten) done(job, step, std::move(output));
    });
  }

  static void abandon(const std::shared_ptr<Run>& run) {
    run->is_forgotten = true;
    asio::post(run->strand, [run] { run->retry.cancel(); });
  }

  BlobStore& blobs;
  const asio::any_io_executor home;
  const StepDone done;
  const AggregationOptions options;
  asio::thread_pool pool;
  std::map<JobId, std::shared_ptr<Run>> runs;
};

AggregationRunner::AggregationRunner(BlobStore& blobs, asio::any_io_executor home, StepDone done,
                                     AggregationOptions options)
    : impl_(std::make_unique<Impl>(blobs, std::move(home), std::move(done), options)) {}

AggregationRunner::~AggregationRunner() { stop(); }

void AggregationRunner::begin(JobId job, const Digest& job_digest, const Digest& manifest_digest) {
  impl_->runs.emplace(
      job, std::make_shared<Run>(impl_->pool, impl_->blobs, job, job_digest, manifest_digest));
}

bool AggregationRunner::knows(JobId job) const { return impl_->runs.contains(job); }

void AggregationRunner::update_accepted(const scheduler::UpdateAccepted& update) {
  const auto found = impl_->runs.find(update.job);
  if (found == impl_->runs.end()) return;
  asio::post(found->second->strand, [run = found->second, update] {
    if (!run->is_forgotten) run->aggregation.accept(update);
  });
}

void AggregationRunner::step_ready(scheduler::StepReady step) {
  const auto found = impl_->runs.find(step.job);
  if (found == impl_->runs.end()) return;
  asio::post(found->second->strand, [impl = impl_.get(), run = found->second,
                                     step = std::move(step)] { impl->complete(run, step); });
}

void AggregationRunner::forget(JobId job) {
  const auto found = impl_->runs.find(job);
  if (found == impl_->runs.end()) return;
  Impl::abandon(found->second);
  impl_->runs.erase(found);
}

void AggregationRunner::stop() {
  for (auto& [id, run] : impl_->runs) Impl::abandon(run);
  impl_->pool.join();
}

}  // namespace mh::server
