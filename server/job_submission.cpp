// See job_submission.h.
#include "server/job_submission.h"

#include <memory>

#include "proto/base/check.h"
#include "proto/net/async.h"
#include "scheduler/job_facts.h"
#include "server/job_aggregation.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {
namespace {

JobFile check_file(const scheduler::ParsedJob& parsed, const Dataset& dataset) {
  JobFile file;
  file.spec = parsed.spec;
  file.manifest = dataset.manifest;
  file.manifest_digest = dataset.row.manifest;
  scheduler::CheckedJob checked = scheduler::check_against(*parsed.spec, *dataset.manifest,
                                                           dataset.row.manifest, parsed.places);
  file.problems = std::move(checked.problems);
  if (file.problems.empty()) file.checked = std::move(checked);
  return file;
}

Result<Digest> put_first_parameters(BlobStore& blobs, const model::ModelPlan& plan,
                                    std::uint64_t seed) {
  update::PackHeader header;
  header.kind = update::PackKind::kParameters;
  header.element_count = plan.parameter_count;
  header.layout_digest = plan.layout_digest;
  PackBuffer parameters(header);
  model::write_initial_parameters(plan, seed, parameters.values());
  return blobs.put(parameters.finish(0));
}

Result<scheduler::JobSubmission> make_blobs(BlobStore& blobs, const JobFile& file) {
  scheduler::JobSubmission submission =
      scheduler::job_facts(*file.spec, *file.checked, *file.manifest, file.manifest_digest);
  MH_TRY(submission.job_digest,
         blobs.put(scheduler::canonical_job_json(*file.spec, file.manifest_digest)));
  MH_TRY(submission.parameters_digest,
         put_first_parameters(blobs, *file.checked->plan, file.spec->seed));
  return submission;
}

}  // namespace

asio::awaitable<JobFile> read_job_file(Core& core, std::string yaml) {
  auto parse = [yaml = std::move(yaml)] { return scheduler::parse_job(yaml); };
  auto parsed =
      std::make_shared<scheduler::ParsedJob>(co_await net::run_on(core.pool(), std::move(parse)));
  JobFile file;
  if (!parsed->spec) {
    file.problems = std::move(parsed->problems);
    co_return file;
  }
  const Dataset* dataset = core.datasets().find(parsed->spec->dataset);
  if (dataset == nullptr) {
    file.problems.push_back(
        scheduler::unknown_dataset(*parsed->spec, core.datasets().names(), parsed->places));
    co_return file;
  }
  auto check = [parsed, dataset = *dataset] { return check_file(*parsed, dataset); };
  file = co_await net::run_on(core.pool(), std::move(check));
  co_return file;
}

std::string problems_text(const std::vector<scheduler::Problem>& problems) {
  std::string text;
  for (const scheduler::Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    text += scheduler::problem_text(problem);
  }
  return text;
}

asio::awaitable<Result<scheduler::JobSubmission>> prepare_job(Core& core, JobFile file) {
  MH_CHECK(file.problems.empty());
  auto make = [&blobs = core.blobs(), file = std::move(file)] { return make_blobs(blobs, file); };
  Result<scheduler::JobSubmission> submission = co_await net::run_on(core.pool(), std::move(make));
  co_return submission;
}

}  // namespace mh::server
