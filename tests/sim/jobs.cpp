#include "tests/sim/jobs.h"

#include <algorithm>

#include "tests/sim/digests.h"

namespace mh::sim {
namespace {

constexpr std::uint64_t kSamplesPerWorkunit = 8;
constexpr std::uint64_t kSamplesPerEvaluation = 40;
constexpr double kBytesPerKb = 1'000;
// Of so many jobs one has an aggregation that needs different hosts, where there are enough.
constexpr std::uint64_t kRobustEvery = 3;
constexpr std::uint64_t kRobustHosts = 2;
// Share of second jobs that are the first one again, so that their blobs are shared.
constexpr double kTwinChance = 0.25;

std::uint64_t to_count(double number) { return static_cast<std::uint64_t>(number); }

std::vector<client::ManifestChunk> make_chunks(std::uint64_t seed, std::uint64_t split,
                                               const Scenario& scenario) {
  std::vector<client::ManifestChunk> chunks;
  for (std::uint64_t i = 0; i < to_count(scenario.chunk_count); ++i) {
    const auto bytes = to_count(scenario.chunk_kb * kBytesPerKb);
    chunks.push_back({blob_name(BlobPurpose::kChunk, seed, split, i), bytes});
  }
  return chunks;
}

constexpr scheduler::ValidationPolicy kModes[] = {
    {.mode = scheduler::ValidationMode::kNone},
    {.mode = scheduler::ValidationMode::kAdaptive, .check_share_min = 0.1},
    {.mode = scheduler::ValidationMode::kAll}};

SimJob make_job(const Scenario& scenario, std::uint64_t seed, std::uint64_t index, Random& random) {
  SimJob job;
  job.seed = seed;
  job.parameter_bytes = to_count(scenario.parameters_kb * kBytesPerKb);
  scheduler::JobSubmission& submission = job.submission;
  submission.request_id = "request " + std::to_string(index);
  submission.name = "job" + std::to_string(index);
  submission.dataset = "data";
  submission.job_digest = blob_name(BlobPurpose::kJob, seed);
  submission.manifest_digest = blob_name(BlobPurpose::kManifest, seed);
  submission.parameters_digest = blob_name(BlobPurpose::kFirstParameters, seed);
  submission.priority = static_cast<std::uint32_t>(random.below(101));
  submission.step_count = to_count(scenario.steps);
  submission.shard = kSamplesPerWorkunit;
  submission.batch = kSamplesPerWorkunit * to_count(scenario.workunits);
  const bool has_hosts = scenario.host_count > 2 * static_cast<double>(kRobustHosts);
  if (has_hosts && seed % kRobustEvery == 0 && to_count(scenario.workunits) >= kRobustHosts) {
    submission.hosts_min = kRobustHosts;
  }
  const double gflop = scenario.workunit_seconds * scenario.speed_gflops;
  submission.validation = kModes[std::min<std::uint64_t>(to_count(scenario.validation), 2)];
  submission.training_flops = gflop * 1e9 / static_cast<double>(kSamplesPerWorkunit);
  submission.evaluation_flops = submission.training_flops / 3;
  const std::uint64_t evaluation_workunits = to_count(scenario.evaluation_workunits);
  if (evaluation_workunits > 0) {
    submission.has_evaluation = true;
    submission.evaluation_split = "test";
    // The last workunit is shorter.
    submission.evaluation_sample_count = kSamplesPerEvaluation * evaluation_workunits - 5;
    submission.evaluation_shard = kSamplesPerEvaluation;
    submission.evaluation_every_steps = to_count(scenario.evaluation_every);
    submission.evaluation_chunk_samples = kSamplesPerEvaluation;
    const std::uint64_t chunks = (submission.evaluation_sample_count - 1) / kSamplesPerEvaluation;
    Scenario test = scenario;
    test.chunk_count = static_cast<double>(chunks + 1);
    job.chunks["test"] = make_chunks(seed, 2, test);
  }
  job.chunks["train"] = make_chunks(seed, 1, scenario);
  return job;
}

}  // namespace

std::vector<SimJob> make_jobs(const Scenario& scenario, std::uint64_t seed) {
  Random random(seed, Purpose::kJobs);
  std::vector<SimJob> jobs;
  for (std::uint64_t index = 0; index < to_count(scenario.job_count); ++index) {
    const bool is_twin = random.chance(kTwinChance) && index > 0;
    const std::uint64_t job_seed = is_twin ? jobs.front().seed : derive_key(seed, 77, index);
    jobs.push_back(make_job(scenario, job_seed, index, random));
  }
  return jobs;
}

}  // namespace mh::sim
