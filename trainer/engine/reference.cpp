// The reference run; see reference.h.
#include "trainer/engine/reference.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "scheduler/planner.h"
#include "trainer/model/bucket_key.h"
#include "trainer/robust/step_gradient.h"
#include "trainer/update/aggregate.h"
#include "trainer/update/optimizer.h"
#include "trainer/update/step.h"
#include "trainer/update/tensor_pack.h"

namespace mh::engine {
namespace {

using SteadyClock = std::chrono::steady_clock;

Error at_step(std::uint64_t step, Error error) {
  error.message = "step " + std::to_string(step) + ": " + error.message;
  return error;
}

/// The job's state between steps, and the buffers of one.
class Run {
 public:
  explicit Run(LoadedJob& job)
      : job_(job),
        plan_(job.files().plan),
        shape_{job.files().spec.training.batch, job.files().spec.training.shard},
        parameters_(model::initial_parameters(plan_, job.files().spec.seed)),
        gradient_(plan_.parameter_count),
        accumulator_(plan_.parameter_count) {
    const scheduler::JobSpec& spec = job.files().spec;
    rule_.optimizer = spec.optimizer;
    rule_.schedule = spec.schedule;
    rule_.clip_norm = spec.clip_norm;
    rule_.step_count = job.files().step_count;
    state_.resize(update::optimizer_slots(spec.optimizer) * plan_.parameter_count);
  }

  /// Takes step number `step` (from 0).
  Result<ReferenceStep> take(std::uint64_t step) {
    MH_TRY_VOID(job_.set_parameters(parameters_));
    MH_TRY(const Sums sums, aggregate(step));
    const auto outcome = update::take_step(rule_, step, gradient_, parameters_, state_);
    if (!outcome)
      return fail(outcome.error().code,
                  "step " + std::to_string(step) + ": " + outcome.error().message);
    update::PackHeader header;
    header.kind = update::PackKind::kParameters;
    header.element_count = plan_.parameter_count;
    header.step = step + 1;
    header.layout_digest = plan_.layout_digest;
    ReferenceStep taken;
    taken.step = step + 1;
    taken.parameters_digest = sha256(update::make_pack(header, parameters_));
    taken.loss = sums.loss_sum / static_cast<double>(sums.sample_count);
    taken.accuracy =
        static_cast<double>(sums.correct_count) / static_cast<double>(sums.sample_count);
    taken.gradient_norm = outcome->gradient_norm;
    taken.learning_rate = outcome->learning_rate;
    return taken;
  }

  Result<Sums> evaluate() {
    const scheduler::EvaluationSpec& spec = *job_.files().spec.evaluation;
    const SplitInfo* split = job_.files().manifest.find_split(spec.split);
    if (split == nullptr) {
      return fail(Errc::kNotFound, "the data set has no split '" + spec.split + "'");
    }
    MH_TRY_VOID(job_.set_parameters(parameters_));
    Sums total;
    for (const auto& range : scheduler::evaluation_ranges(split->count, spec.shard)) {
      MH_TRY(const Sums sums, job_.evaluate(spec.split, range));
      add(sums, total);
    }
    return total;
  }

  std::vector<float> take_parameters() { return std::move(parameters_); }

 private:
  static void add(const Sums& sums, Sums& total) {
    total.loss_sum += sums.loss_sum;
    total.correct_count += sums.correct_count;
    total.sample_count += sums.sample_count;
  }

  /// The mean gradient of a step into gradient_.
  Result<Sums> aggregate(std::uint64_t step) {
    if (!job_.files().spec.aggregation.is_exact_mean()) return aggregate_robustly(step);
    accumulator_.reset();
    Sums total;
    for (std::uint64_t index = 0; index < scheduler::workunits_per_step(shape_); ++index) {
      const scheduler::ShardRange range = scheduler::shard_range(shape_, step, index);
      MH_TRY(const Sums sums, job_.gradient(range, gradient_));
      MH_TRY_VOID(accumulator_.add(index, gradient_));
      add(sums, total);
    }
    accumulator_.mean(total.sample_count, gradient_);
    return total;
  }

  /// The same by the job's robust rule, each shard a voice: holds all of them in memory.
  Result<Sums> aggregate_robustly(std::uint64_t step) {
    const scheduler::JobSpec& spec = job_.files().spec;
    Sums total;
    std::vector<std::vector<float>> gradients(scheduler::workunits_per_step(shape_));
    std::vector<std::uint32_t> voices;
    for (std::uint64_t index = 0; index < gradients.size(); ++index) {
      gradients[index].resize(plan_.parameter_count);
      const scheduler::ShardRange range = scheduler::shard_range(shape_, step, index);
      MH_TRY(const Sums sums, job_.gradient(range, gradients[index]));
      voices.push_back(static_cast<std::uint32_t>(index));
      add(sums, total);
    }
    const std::vector<std::span<const float>> views(gradients.begin(), gradients.end());
    model::Recipe recipe = spec.aggregation.recipe;
    recipe.bucket_seed = model::bucket_key(spec.seed, step);
    const robust::StepShards shards = {
        .sums = views, .voices = voices, .sample_count = shape_.shard};
    MH_TRY_VOID(robust::step_gradient(recipe, shards, plan_.parameters, gradient_, 1));
    return total;
  }

  LoadedJob& job_;
  const model::ModelPlan& plan_;
  const scheduler::StepShape shape_;
  update::StepRule rule_;
  std::vector<float> parameters_;
  std::vector<float> state_;
  std::vector<float> gradient_;
  update::GradientAccumulator accumulator_;
};

}  // namespace

Result<ReferenceOutcome> run_reference(LoadedJob& job, std::uint64_t step_count,
                                       const std::function<void(const ReferenceStep&)>& report) {
  const scheduler::AggregationSpec& aggregation = job.files().spec.aggregation;
  if (!aggregation.is_exact_mean() && aggregation.unit == scheduler::AggregationUnit::kHost) {
    return fail(Errc::kFailedPrecondition,
                "the job aggregates over hosts with " +
                    std::string(model::name_of(aggregation.recipe.rule)) +
                    ", so its steps depend on which host did which shard, and this is one process "
                    "alone; a job with `aggregation: {unit: shard}` has a reference run");
  }
  Run run(job);
  ReferenceOutcome outcome;
  const std::uint64_t last = std::min(step_count, job.files().step_count);
  for (std::uint64_t step = 0; step < last; ++step) {
    const auto begin = SteadyClock::now();
    Result<ReferenceStep> taken = run.take(step);
    if (!taken) return at_step(step, taken.error());
    const std::chrono::duration<double, std::milli> elapsed = SteadyClock::now() - begin;
    taken->milliseconds = elapsed.count();
    report(*taken);
    outcome.steps_done = step + 1;
  }
  if (job.files().spec.evaluation) {
    MH_TRY(outcome.evaluation, run.evaluate());
  }
  outcome.parameters = run.take_parameters();
  return outcome;
}

}  // namespace mh::engine
