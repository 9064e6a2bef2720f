// Ranges of a job's samples to gradients; see loaded_job.h.
#include "trainer/engine/loaded_job.h"

#include <cmath>
#include <utility>
#include <vector>

#include "trainer/engine/pinned.h"
#include "trainer/update/tensor_pack.h"

namespace mh::engine {
namespace {

std::string range_text(const scheduler::ShardRange& range) {
  return std::to_string(range.begin) + " to " + std::to_string(range.end);
}

/// A gradient that is not finite would be refused by the server; here the reason can still be told.
Status check_finite(const scheduler::ShardRange& range, const Sums& sums,
                    std::span<const float> gradient) {
  const bool is_loss_finite = std::isfinite(sums.loss_sum);
  if (is_loss_finite && std::isfinite(update::l2_norm(gradient))) return {};
  const std::string what =
      is_loss_finite ? "the gradient holds values that are not finite"
                     : "the loss is " + std::string(std::isnan(sums.loss_sum) ? "NaN" : "infinite");
  return fail(Errc::kOutOfRange,
              "positions " + range_text(range) + ": " + what +
                  ": training has diverged; lower optimizer.learning_rate, set clip_norm, or look "
                  "for inputs of extreme size");
}

}  // namespace

LoadedJob::LoadedJob(JobFiles files, update::ChunkCheck check)
    : files_(std::move(files)),
      check_(check),
      stream_(files_.spec.seed, files_.train_sample_count) {}

Result<std::unique_ptr<LoadedJob>> LoadedJob::load(JobFiles files, const Device& device,
                                                   int threads_max, update::ChunkCheck check) {
  if (!device.is_cuda() && files.spec.threads > static_cast<std::uint32_t>(threads_max)) {
    return fail(Errc::kFailedPrecondition, "job " + files.spec.name + " computes with " +
                                               std::to_string(files.spec.threads) +
                                               " threads, this trainer may use " +
                                               std::to_string(threads_max) + " (--threads)");
  }
  MH_TRY_VOID(check_numerics(files.spec, device));
  EngineJob engine_job;
  engine_job.plan = files.plan;
  engine_job.seed = files.spec.seed;
  engine_job.micro_batch = static_cast<std::uint32_t>(files.spec.training.micro_batch);
  MH_TRY(std::unique_ptr<Engine> engine, Engine::create(std::move(engine_job), device));
  std::unique_ptr<LoadedJob> job(new LoadedJob(std::move(files), check));
  job->engine_ = std::move(engine);
  return job;
}

void LoadedJob::use_threads() const { set_compute_threads(static_cast<int>(files_.spec.threads)); }

Result<const ChunkSource*> LoadedJob::source(std::string_view split) {
  const auto found = sources_.find(split);
  if (found != sources_.end()) return &found->second;
  const bool normalize = files_.spec.normalize && !files_.plan.input_is_index;
  MH_TRY(ChunkSource opened,
         ChunkSource::open(files_.manifest, split, files_.chunk_dir, normalize, check_));
  return &sources_.emplace(std::string(split), std::move(opened)).first->second;
}

Result<void> LoadedJob::set_parameters(std::span<const float> parameters) {
  use_threads();
  return engine_->set_parameters(parameters);
}

Result<Sums> LoadedJob::gradient(const scheduler::ShardRange& range, std::span<float> out,
                                 const Progress& progress) {
  if (range.begin >= range.end || range.size() > files_.spec.training.batch) {
    return fail(Errc::kInvalidArgument,
                "positions " + range_text(range) + " are no shard of a step of " +
                    std::to_string(files_.spec.training.batch) + " samples");
  }
  use_threads();
  MH_TRY(const ChunkSource* samples, source("train"));
  std::vector<std::uint64_t> indices(range.size());
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = stream_.sample_at(range.begin + i);
  MH_TRY(const Sums sums, engine_->compute_gradient(*samples, indices, range.begin, out, progress));
  MH_TRY_VOID(check_finite(range, sums, out));
  return sums;
}

Result<Sums> LoadedJob::evaluate(std::string_view split, const scheduler::ShardRange& range,
                                 const Progress& progress) {
  use_threads();
  MH_TRY(const ChunkSource* samples, source(split));
  return engine_->evaluate(*samples, range.begin, range.end, progress);
}

}  // namespace mh::engine
