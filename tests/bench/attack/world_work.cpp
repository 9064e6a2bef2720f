// What hosts of a run hand in, and what the server's shell does with it: screens, mean, optimizer.
#include <cmath>
#include <cstring>

#include "proto/base/check.h"
#include "tests/bench/attack/world_state.h"
#include "trainer/update/distance.h"
#include "trainer/update/tensor_pack.h"

namespace mh::attack {
namespace {

bool is_same(const Gradient& a, const Gradient& b) {
  return a.loss_sum == b.loss_sum && a.correct_count == b.correct_count &&
         std::memcmp(a.sum.data(), b.sum.data(), a.sum.size() * sizeof(float)) == 0;
}

}  // namespace

Errand World::errand_of(const Machine& machine) const {
  return {.step = machine.work->step,
          .shard = machine.work->begin % shape_.batch / shape_.shard,
          .attacker = machine.attacker.value_or(0),
          .handed_in = machine.handed_in};
}

update::UpdateExpectation World::expected(const scheduler::Assignment& work) const {
  return {.layout_digest = plan_.layout_digest,
          .element_count = plan_.parameter_count,
          .step = work.step,
          .sample_count = work.end - work.begin};
}

// What the machine makes of its workunit; notes whether that is honest.
Result<Gradient> World::computed(Machine& machine, const Errand& errand) {
  MH_TRY(Gradient honest, insight_.honest(errand.step, errand.shard));
  const std::uint64_t work = errand.step * workunits_per_step(shape_) + errand.shard;
  const std::uint64_t result = machine.work->result.value();
  const Gradient true_one = as_computed_on(*machine.device, plan_, std::move(honest), work, result);
  Gradient made = true_one;
  if (machine.attacker) {
    // An attacker's own device adds nothing to what is made up.
    MH_TRY(Gradient raw, adversary_.make(errand));
    MH_TRY(const Gradient unspoiled, insight_.honest(errand.step, errand.shard));
    if (!is_same(raw, unspoiled)) made = std::move(raw);
  }
  const bool is_bad = !is_same(made, true_one);
  truth_[machine.work->result] = {machine.index, is_bad, machine.work->flops / 1e9};
  machine.outcome.sent_count += 1;
  machine.outcome.bad_count += is_bad ? 1 : 0;
  if (!is_bad) machine.outcome.honest_gflop += machine.work->flops / 1e9;
  machine.handed_in += 1;
  result_count_ += 1;
  return made;
}

Result<scheduler::Report> World::finished(Machine& machine) {
  const scheduler::Assignment& work = *machine.work;
  scheduler::Report report;
  report.result = work.result;
  if (work.step >= insight_.step_count()) return report;
  MH_TRY(const Gradient gradient, computed(machine, errand_of(machine)));
  const bool is_finite =
      std::isfinite(gradient.loss_sum) && std::isfinite(update::l2_norm(gradient.sum));
  if (!machine.attacker && !is_finite) {
    report.outcome = scheduler::Outcome::kFailed;
    report.error = "loss or gradient is not finite";
    return report;
  }
  update::PackHeader header;
  header.kind = update::PackKind::kGradientSum;
  header.element_count = plan_.parameter_count;
  header.step = work.step;
  header.sample_count = work.end - work.begin;
  header.layout_digest = plan_.layout_digest;
  report.outcome = scheduler::Outcome::kSuccess;
  report.loss_sum = gradient.loss_sum;
  report.correct_count = gradient.correct_count;
  std::vector<std::byte> bytes = update::make_pack(header, gradient.sum);
  report.update_bytes = bytes.size();
  report.update_digest = keep(std::move(bytes));
  screen(work, report);
  return report;
}

void World::screen(const scheduler::Assignment& work, scheduler::Report& report) const {
  const auto stats = update::screen_update(blobs_.at(report.update_digest), expected(work));
  if (stats) {
    report.update_norm = stats->norm;
    return;
  }
  report.screening = scheduler::Screening::kRefused;
  report.screening_reason = stats.error().message;
}

Digest World::keep(std::vector<std::byte> bytes) {
  const Digest digest = sha256(bytes);
  blobs_.try_emplace(digest, std::move(bytes));
  return digest;
}

std::span<const float> World::values_of(const Digest& digest) const {
  const auto view = update::view_pack(blobs_.at(digest));
  MH_CHECK(view.has_value());
  return view->values();
}

// Measures two updates for the coordinator.
void World::compare() {
  const scheduler::Comparison comparison = comparisons_.front();
  comparisons_.pop_front();
  std::optional<scheduler::Distance> distance;
  const bool has_both =
      blobs_.contains(comparison.first_digest) && blobs_.contains(comparison.second_digest);
  if (has_both) {
    const auto measured = update::measure_distance(
        values_of(comparison.first_digest), values_of(comparison.second_digest), plan_.parameters);
    MH_CHECK(measured.has_value());
    distance = {measured->relative_l2, measured->one_minus_cosine};
  }
  take(coordinator_->compared(comparison.first, comparison.second, distance, now_));
}

// Aggregates the step that is ready and takes it.
Status World::complete_step() {
  const scheduler::StepReady ready = *std::exchange(ready_, std::nullopt);
  std::vector<Contribution> contributions;
  for (std::uint64_t shard = 0; shard < ready.update_digests.size(); ++shard) {
    const Truth& truth = truth_.at(canonical_.at({ready.step, shard}));
    Machine& machine = machines_[truth.machine];
    machine.outcome.bad_counted += truth.is_bad ? 1 : 0;
    contributions.push_back({machine.host, values_of(ready.update_digests[shard]), shape_.shard});
  }
  scheduler::StepOutput output;
  auto mean = combine(scenario_.defence, contributions);
  if (mean) {
    insight_.set_last_mean(*mean);
    const auto taken = update::take_step(rule_, ready.step, *mean, parameters_, state_);
    if (taken) {
      output.gradient_norm = taken->gradient_norm;
      output.learning_rate = taken->learning_rate;
      output.parameters_digest = sha256(std::as_bytes(std::span(parameters_)));
      insight_.add_parameters(parameters_);
    } else {
      output.failure = taken.error().message;
    }
  } else {
    output.failure = mean.error().message;
  }
  take(coordinator_->step_completed(job_, ready.step, output, now_));
  look_at_standing();
  return {};
}

}  // namespace mh::attack
