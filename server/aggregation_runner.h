// From accepted updates to the parameters of the next step: adds updates in the order of their
// shards as they come, and when the step is complete takes the mean, steps the optimizer and
// publishes parameters and optimizer state as blobs.
//
// Flow: Effects (UpdateAccepted, StepReady) -> here -> StepOutput -> Coordinator::step_completed.
//
// Rules
// 1. The bits depend on the updates and their shards only: trainer/update does the arithmetic, the
//    same code as `manyhands-trainer reference`.
// 2. What a step starts from is named by digest in StepReady. What is in memory is used only if it
//    is exactly that, else it is read from the blobs. *Rationale:* after a restart, a failure or a
//    lost race nothing of an earlier attempt may leak into the next.
// 3. A disk that is full or broken does not fail the job: the same step is tried again every
//    retry_pause until it works or the job ends. A blob that is damaged, or numbers that are not
//    finite, do.
// Threads: members may be called from one strand. Work runs on an own pool, one strand a job;
// results come back on `home`.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <memory>

#include "scheduler/events.h"
#include "server/blob_store.h"

namespace mh::server {

namespace asio = boost::asio;

struct AggregationOptions {
  // Jobs aggregated at the same time.
  unsigned threads = 1;
  std::chrono::milliseconds retry_pause = std::chrono::seconds(1);
};

class AggregationRunner {
 public:
  // Told on `home`, once for each StepReady unless its job is forgotten meanwhile.
  using StepDone = std::function<void(JobId job, std::uint64_t step, scheduler::StepOutput output)>;

  // `blobs` must outlive this.
  AggregationRunner(BlobStore& blobs, asio::any_io_executor home, StepDone done,
                    AggregationOptions options = {});
  // Waits for work under way.
  ~AggregationRunner();

  // A job in progress; before the first call of the other members for it.
  void begin(JobId job, const Digest& job_digest, const Digest& manifest_digest);
  bool knows(JobId job) const;
  void update_accepted(const scheduler::UpdateAccepted& update);
  void step_ready(scheduler::StepReady step);
  // The job has ended.
  void forget(JobId job);
  // Lets work under way end and starts no other.
  void stop();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace mh::server
