// See job_models.h.
#include "server/job_models.h"

#include <algorithm>

#include "proto/base/bytes.h"
#include "proto/base/dataset_manifest.h"

namespace mh::server {
namespace {

Error damaged(const Digest& blob, const std::string& why) {
  return fail(Errc::kDataLoss, "blob " + blob.hex() + " of the job: " + why);
}

}  // namespace

update::UpdateExpectation JobModel::expected_update(std::uint64_t step,
                                                    std::uint64_t sample_count) const {
  update::UpdateExpectation expected;
  expected.layout_digest = plan().layout_digest;
  expected.element_count = plan().parameter_count;
  expected.step = step;
  expected.sample_count = sample_count;
  return expected;
}

Result<JobModelPtr> load_job_model(const BlobStore& blobs, const Digest& job_digest,
                                   const Digest& manifest_digest) {
  MH_TRY(const auto job_bytes, blobs.read(job_digest, scheduler::kJobTextBytesMax));
  MH_TRY(const auto manifest_bytes, blobs.read(manifest_digest, kManifestBytesMax));
  auto model = std::make_shared<JobModel>();
  model->canonical_json = std::string(as_text(job_bytes));
  scheduler::ParsedJob parsed = scheduler::parse_job(model->canonical_json);
  if (!parsed.spec) {
    return damaged(job_digest, parsed.problems.empty()
                                   ? std::string("unreadable")
                                   : scheduler::problem_text(parsed.problems.front()));
  }
  const auto manifest = parse_manifest(as_text(manifest_bytes));
  if (!manifest) return damaged(manifest_digest, manifest.error().message);
  model->spec = *std::move(parsed.spec);
  model->checked = scheduler::check_against(model->spec, *manifest, manifest_digest);
  if (!model->checked.plan) {
    return damaged(job_digest, scheduler::problem_text(model->checked.problems.front()));
  }
  model->rule.optimizer = model->spec.optimizer;
  model->rule.schedule = model->spec.schedule;
  model->rule.clip_norm = model->spec.clip_norm;
  model->rule.step_count = model->checked.step_count;
  model->class_names = manifest->class_names;
  return JobModelPtr(std::move(model));
}

JobModelPtr JobModels::find(const Digest& job_digest) {
  const auto found = std::find_if(models_.begin(), models_.end(),
                                  [&](const auto& entry) { return entry.first == job_digest; });
  if (found == models_.end()) return nullptr;
  models_.splice(models_.begin(), models_, found);
  return found->second;
}

void JobModels::keep(const Digest& job_digest, JobModelPtr model) {
  if (find(job_digest) != nullptr) return;
  models_.emplace_front(job_digest, std::move(model));
  if (models_.size() > kKeptMax) models_.pop_back();
}

}  // namespace mh::server
