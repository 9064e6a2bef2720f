#include "tests/sim/plan.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/file.h"
#include "scheduler/job_check.h"
#include "scheduler/job_facts.h"
#include "scheduler/job_spec.h"
#include "tests/sim/digests.h"

namespace mh::sim {
namespace {

constexpr std::uint64_t kAssumedClasses = 10;
constexpr std::uint64_t kAssumedChunk = 10'000;
// Longer than any job that one would plan.
constexpr double kHorizonSeconds = 1e7;

SplitInfo assumed_split(std::uint64_t count, std::uint64_t sample_bytes, std::uint64_t number) {
  SplitInfo split;
  split.count = count;
  split.class_counts.assign(kAssumedClasses, count / kAssumedClasses);
  for (std::uint64_t begin = 0; begin < count; begin += kAssumedChunk) {
    const Digest digest = blob_name(BlobPurpose::kChunk, 0, number, begin);
    split.chunks.push_back({digest, kAssumedChunk * sample_bytes, kAssumedChunk});
  }
  return split;
}

// The data set of every first example.
DatasetManifest assumed_manifest() {
  DatasetManifest manifest;
  manifest.input = {DataType::kU8, {1, 28, 28}};
  manifest.target = {DataType::kU8, {}};
  manifest.class_count = kAssumedClasses;
  manifest.normalization = {{0.5}, {0.25}};
  manifest.splits["train"] = assumed_split(60'000, manifest.sample_bytes(), 1);
  manifest.splits["test"] = assumed_split(10'000, manifest.sample_bytes(), 2);
  return manifest;
}

Error refuse(const std::string& file, const std::vector<scheduler::Problem>& problems) {
  std::string text;
  for (const scheduler::Problem& problem : problems) {
    text += (text.empty() ? "" : "\n") + file + ": " + problem_text(problem);
  }
  return fail(Errc::kInvalidArgument, text);
}

struct PlannedJob {
  SimJob job;
  scheduler::JobReport report;
};

Result<PlannedJob> read_job(const std::string& file, const DatasetManifest& manifest) {
  MH_TRY(const std::string text, read_file(file, scheduler::kJobTextBytesMax));
  const scheduler::ParsedJob parsed = scheduler::parse_job(text);
  if (!parsed.spec) return refuse(file, parsed.problems);
  const Digest manifest_digest = sha256(to_json(manifest));
  const scheduler::CheckedJob checked =
      check_against(*parsed.spec, manifest, manifest_digest, parsed.places);
  if (!checked.plan) return refuse(file, checked.problems);
  PlannedJob planned;
  planned.report = job_report(*parsed.spec, checked);
  SimJob& job = planned.job;
  job.seed = parsed.spec->seed;
  job.parameter_bytes = planned.report.update_bytes;
  job.submission = job_facts(*parsed.spec, checked, manifest, manifest_digest);
  job.submission.request_id = "plan";
  job.submission.job_digest = sha256(canonical_job_json(*parsed.spec, manifest_digest));
  job.submission.parameters_digest = blob_name(BlobPurpose::kFirstParameters, job.seed);
  for (const auto& [name, split] : manifest.splits) {
    for (const ChunkInfo& chunk : split.chunks) {
      job.chunks[name].push_back({chunk.digest, chunk.bytes});
    }
  }
  return planned;
}

void fill(PlanReport& report) {
  const Outcome& outcome = report.outcome;
  const double scale = static_cast<double>(report.step_count) /
                       static_cast<double>(std::max<std::uint64_t>(1, report.steps_simulated));
  report.expected_seconds = outcome.job_seconds * scale;
  report.upload_bytes = static_cast<double>(outcome.counts.upload_bytes) * scale;
  report.download_bytes = static_cast<double>(outcome.counts.download_bytes) * scale;
  const double computing = std::max(1e-9, outcome.counts.computing_seconds);
  report.utilisation = computing / std::max(1e-9, outcome.counts.online_seconds);
  report.waste = outcome.counts.wasted_seconds / computing;
  report.backup_waste = outcome.counts.backup_seconds / computing;
}

}  // namespace

Result<PlanReport> plan(const PlanOptions& options, ScenarioFile scenario, std::uint64_t seed) {
  DatasetManifest manifest = assumed_manifest();
  PlanReport report;
  if (options.manifest_file.empty()) {
    report.assumption =
        "no --manifest: a data set of 60,000 + 10,000 grey images of 28×28 in ten classes";
  } else {
    MH_TRY(const std::string text, read_file(options.manifest_file, kManifestBytesMax));
    MH_TRY(manifest, parse_manifest(text));
  }
  MH_TRY(PlannedJob planned, read_job(options.job_file, manifest));
  const scheduler::JobReport& facts = planned.report;
  report.job_name = planned.job.submission.name;
  report.step_count = facts.step_count;
  report.workunits_per_step = facts.workunits_per_step;
  report.update_bytes = facts.update_bytes;
  report.gflop_per_workunit =
      static_cast<double>(planned.job.submission.shard) * facts.flops_per_sample / 1e9;
  report.steps_simulated = std::min(options.step_count_max, facts.step_count);
  planned.job.submission.step_count = report.steps_simulated;
  // Until the job ends, with all the faults of the population.
  MH_TRY_VOID(scenario.set("world.duration", {kHorizonSeconds, kHorizonSeconds}));
  MH_TRY_VOID(scenario.set("world.endless", {0, 0}));
  const Scenario drawn = scenario.draw(seed, {});
  report.host_count = static_cast<std::uint64_t>(drawn.host_count);
  std::vector<SimJob> jobs;
  jobs.push_back(std::move(planned.job));
  report.outcome = World(drawn, seed, std::move(jobs)).run();
  fill(report);
  return report;
}

}  // namespace mh::sim
