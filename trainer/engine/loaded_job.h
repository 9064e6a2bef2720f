// A job ready to be computed: its model on the device, its samples, the order in which they come.
//
// The one place where a range of positions becomes a sum of gradients: serve computes every
// workunit through it and reference every shard, so that their bits cannot differ. Flow: JobFiles
// (job_files.h) -> load() -> gradient() or evaluate(). Threads: one.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "scheduler/planner.h"
#include "trainer/engine/chunk_source.h"
#include "trainer/engine/device.h"
#include "trainer/engine/engine.h"
#include "trainer/engine/job_files.h"

namespace mh::engine {

class LoadedJob {
 public:
  /// Builds the model. `threads_max`: CPU threads that may be used. The job's own number decides
  /// the bits, so a job that wants more is refused. Errors: kFailedPrecondition for too many
  /// threads, kInternal with what torch says.
  static Result<std::unique_ptr<LoadedJob>> load(JobFiles files, const Device& device,
                                                 int threads_max, update::ChunkCheck check);

  const JobFiles& files() const { return files_; }

  /// See Engine::set_parameters().
  Result<void> set_parameters(std::span<const float> parameters);

  /// The sum of the gradients of the samples at positions [range.begin, range.end), and of their
  /// losses. Errors: kInvalidArgument for a range that is empty, longer than a step or no multiple
  /// of the micro-batch; kOutOfRange when loss or gradient is not finite; those of Engine and of
  /// the chunks.
  Result<Sums> gradient(const scheduler::ShardRange& range, std::span<float> out,
                        const Progress& progress = {});

  /// Loss and correct answers over samples [range.begin, range.end) of `split`. Errors: as
  /// gradient(), kNotFound.
  Result<Sums> evaluate(std::string_view split, const scheduler::ShardRange& range,
                        const Progress& progress = {});

 private:
  LoadedJob(JobFiles files, update::ChunkCheck check);
  Result<const ChunkSource*> source(std::string_view split);
  void use_threads() const;

  const JobFiles files_;
  const update::ChunkCheck check_;
  std::unique_ptr<Engine> engine_;
  scheduler::SampleStream stream_;
  std::map<std::string, ChunkSource, std::less<>> sources_;
};

}  // namespace mh::engine
