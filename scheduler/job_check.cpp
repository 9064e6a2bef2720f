// The estimates behind `manyhands job check`; see job_check.h.
#include "scheduler/job_check.h"

#include <algorithm>
#include <array>
#include <utility>

#include "proto/base/check.h"

namespace mh::scheduler {
namespace {

/// Header of a tensor pack (trainer/update/tensor_pack.h, which this folder may not use); a test
/// compares the two.
constexpr std::uint64_t kPackHeaderBytes = 96;
constexpr std::uint64_t kBytesPerParameter = 4;

/// Also true for nothing and for NaN, which are not above 0.
double or_default(double value, double default_value) { return value > 0 ? value : default_value; }

double transfer_seconds(std::uint64_t bytes, double mbits) {
  return static_cast<double>(bytes) * 8 / (mbits * 1e6);
}

}  // namespace

TimeReport estimate_time(const JobReport& report, std::uint64_t shard,
                         std::uint32_t volunteer_count, const VolunteerSpeed& speed) {
  MH_CHECK(volunteer_count > 0);
  const VolunteerSpeed usual;
  const std::uint64_t most = (report.workunits_per_step + volunteer_count - 1) / volunteer_count;
  const auto workunits = static_cast<double>(most);
  const double compute = static_cast<double>(shard) * report.flops_per_sample /
                         (or_default(speed.gflops, usual.gflops) * 1e9);
  const double download =
      transfer_seconds(report.update_bytes, or_default(speed.download_mbits, usual.download_mbits));
  const double upload =
      transfer_seconds(report.update_bytes, or_default(speed.upload_mbits, usual.upload_mbits));
  const std::array<std::pair<double, std::string_view>, 4> parts = {{
      {workunits * compute, "compute"},
      {download, "download"},
      {workunits * upload, "upload"},
      {kStepLatencySeconds, "step latency"},
  }};
  TimeReport time;
  time.volunteer_count = volunteer_count;
  double step_seconds = 0;
  double longest = -1;
  for (const auto& [seconds, name] : parts) {
    step_seconds += seconds;
    if (seconds <= longest) continue;
    longest = seconds;
    time.limited_by = name;
  }
  time.seconds = step_seconds * static_cast<double>(report.step_count);
  return time;
}

ChecksReport estimate_checks(const ValidationPolicy& policy, std::uint64_t record_after) {
  ChecksReport report;
  report.policy = policy;
  if (policy.mode == ValidationMode::kNone) return report;
  double checked = 0;
  for (std::uint64_t n = 0; n < report.sample_result_count; ++n) {
    const bool is_always = policy.mode == ValidationMode::kAll || n < record_after;
    checked += is_always ? 1 : std::max(1 / static_cast<double>(n), policy.check_share_min);
  }
  const double copies = static_cast<double>(policy.quorum) - 1;
  report.extra_share = copies * checked / static_cast<double>(report.sample_result_count);
  report.newcomer_result_count = record_after;
  const double share = policy.mode == ValidationMode::kAll ? 1 : policy.check_share_min;
  if (share > 0) report.results_until_found = 1 / share;
  return report;
}

JobReport job_report(const JobSpec& spec, const CheckedJob& checked, const VolunteerSpeed& speed) {
  MH_CHECK(checked.plan.has_value() && checked.train_sample_count > 0);
  JobReport report;
  for (const model::LayerPlan& layer : checked.plan->layers) {
    report.layers.push_back({layer.name, layer.description, layer.output_shape,
                             layer.parameter_count, layer.forward_flops});
  }
  report.parameter_count = checked.plan->parameter_count;
  report.update_bytes = kPackHeaderBytes + kBytesPerParameter * report.parameter_count;
  report.samples_per_step = spec.training.batch;
  report.workunits_per_step = checked.workunits_per_step;
  report.step_count = checked.step_count;
  report.pass_count = static_cast<double>(checked.step_count) *
                      static_cast<double>(spec.training.batch) /
                      static_cast<double>(checked.train_sample_count);
  report.flops_per_sample = checked.plan->flops_per_sample;
  for (const std::uint32_t volunteer_count : {1U, 10U, 100U}) {
    report.estimates.push_back(estimate_time(report, spec.training.shard, volunteer_count, speed));
  }
  report.checks = estimate_checks(spec.validation);
  return report;
}

}  // namespace mh::scheduler
