// What the server must know of a job beyond the coordinator's row: its checked specification and
// plan. Read back from the job's two blobs (canonical specification, manifest), so that there is
// one truth, and kept while the job runs.
// Threads: load_job_model() anywhere (blocks on the disk); JobModels belongs to the state strand.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "scheduler/job_spec.h"
#include "server/blob_store.h"
#include "trainer/update/step.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {

// Immutable.
struct JobModel {
  scheduler::JobSpec spec;
  // The job fits its data set: `checked.plan` has a value.
  scheduler::CheckedJob checked;
  update::StepRule rule;
  // The canonical specification, as in the blob.
  std::string canonical_json;
  std::vector<std::string> class_names;

  const model::ModelPlan& plan() const { return *checked.plan; }
  // Bytes of every update.
  std::uint64_t update_bytes() const { return update::update_size(plan().parameter_count); }
  // What an update of a workunit must be.
  update::UpdateExpectation expected_update(std::uint64_t step, std::uint64_t sample_count) const;
};
using JobModelPtr = std::shared_ptr<const JobModel>;

// Errors: kNotFound (a blob is gone), kDataLoss (a blob is not what it should be).
Result<JobModelPtr> load_job_model(const BlobStore& blobs, const Digest& job_digest,
                                   const Digest& manifest_digest);

// The models of the jobs used last, by the digest of the specification (which names the manifest).
class JobModels {
 public:
  static constexpr std::size_t kKeptMax = 64;

  // The model, if it is kept; null otherwise.
  JobModelPtr find(const Digest& job_digest);
  void keep(const Digest& job_digest, JobModelPtr model);

 private:
  // Most recently used first.
  std::list<std::pair<Digest, JobModelPtr>> models_;
};

}  // namespace mh::server
