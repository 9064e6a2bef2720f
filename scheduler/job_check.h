// What a job will cost, from its description alone: the report behind `manyhands job check`
// (JobService.CheckJob).
//
// Flow: CheckedJob (job_spec.h) -> job_report() -> server/handle_jobs fills JobPlan. Pure; no
// threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/job_spec.h"
#include "trainer/model/model_plan.h"

namespace mh::scheduler {

/// A volunteer as assumed by the estimates; values that are not above 0 mean the default.
struct VolunteerSpeed {
  /// Training speed. Default: one core of a desktop PC.
  double gflops = 20;
  /// Network, Mbit/s.
  double download_mbits = 50;
  double upload_mbits = 10;
};

/// Time between a step's last update and the next workunit in a volunteer's hands, apart from
/// transfers: aggregation, optimizer, commit, poll. An assumption of the estimates.
inline constexpr double kStepLatencySeconds = 0.005;

/// One row of the layer table.
struct LayerReport {
  /// Index in the model: "0".
  std::string name;
  /// "conv2d 1→16 5×5".
  std::string description;
  model::Shape output_shape;
  std::uint64_t parameter_count = 0;
  /// Forward, one sample.
  double forward_flops = 0;
};

/// How long a job takes with so many equal volunteers.
struct TimeReport {
  std::uint32_t volunteer_count = 0;
  double seconds = 0;
  /// The largest part: "compute", "download", "upload", "step latency".
  std::string_view limited_by;
};

/// What checking results costs, and what it makes of cheating (docs/validation.md).
struct ChecksReport {
  ValidationPolicy policy;
  /// Results of a new host that are all checked; more computing for a host that does so many
  /// results, as a share; results of a cheating host with a record until one is checked, on average
  /// (its credit of all of them is held back until then).
  std::uint64_t newcomer_result_count = 0;
  std::uint64_t sample_result_count = 1'000;
  double extra_share = 0;
  double results_until_found = 0;
};

/// Of a host whose results are right. Pure arithmetic; the checks are those of rule 20.
ChecksReport estimate_checks(const ValidationPolicy& policy, std::uint64_t record_after = 10);

/// Everything `job check` prints.
struct JobReport {
  std::vector<LayerReport> layers;
  std::uint64_t parameter_count = 0;
  /// Bytes of one update, as uploaded (a tensor pack).
  std::uint64_t update_bytes = 0;
  std::uint64_t samples_per_step = 0;
  std::uint64_t workunits_per_step = 0;
  std::uint64_t step_count = 0;
  /// Passes over the train split.
  double pass_count = 0;
  /// Training: forward and backward.
  double flops_per_sample = 0;
  /// For 1, 10 and 100 volunteers.
  std::vector<TimeReport> estimates;
  ChecksReport checks;
};

/// The estimate: a step lasts as long as the volunteer with the most of its W workunits,
/// w = ceil(W / volunteers):
///   download of the parameters (once a step) + w × (compute of a shard)
///   + w × (upload of an update) + step latency.
/// Transfers count bytes of the pack at the volunteer's own speed; the download of the data set is
/// left out, because it happens once. No overlap is assumed, so it errs on the slow side.
/// Requires: volunteer_count > 0.
TimeReport estimate_time(const JobReport& report, std::uint64_t shard,
                         std::uint32_t volunteer_count, const VolunteerSpeed& speed);

/// The report of a job. Requires: checked.plan has a value (no problems).
JobReport job_report(const JobSpec& spec, const CheckedJob& checked,
                     const VolunteerSpeed& speed = {});

}  // namespace mh::scheduler
