// See job_facts.h.
#include "scheduler/job_facts.h"

#include "proto/base/check.h"
#include "proto/base/dataset_manifest.h"

namespace mh::scheduler {

JobSubmission job_facts(const JobSpec& spec, const CheckedJob& checked,
                        const DatasetManifest& manifest, const Digest& manifest_digest) {
  MH_CHECK(checked.plan.has_value());
  JobSubmission facts;
  facts.name = spec.name;
  facts.dataset = spec.dataset;
  facts.manifest_digest = manifest_digest;
  facts.priority = spec.priority;
  facts.validation = spec.validation;
  facts.step_count = checked.step_count;
  facts.batch = spec.training.batch;
  facts.shard = spec.training.shard;
  facts.training_flops = checked.plan->flops_per_sample;
  facts.evaluation_flops = checked.plan->forward_flops;
  facts.threads = spec.threads;
  facts.hosts_min = hosts_needed(spec.aggregation);
  facts.is_pinned = spec.numerics == Numerics::kPinned;
  facts.has_classes = checked.plan->loss == model::Loss::kCrossEntropy;
  if (!spec.evaluation) return facts;

  const SplitInfo* split = manifest.find_split(spec.evaluation->split);
  MH_CHECK(split != nullptr);
  facts.has_evaluation = true;
  facts.evaluation_split = spec.evaluation->split;
  facts.evaluation_sample_count = split->count;
  facts.evaluation_every_steps = spec.evaluation->every_steps;
  facts.evaluation_shard = spec.evaluation->shard;
  if (!split->chunks.empty()) facts.evaluation_chunk_samples = split->chunks.front().count;
  return facts;
}

}  // namespace mh::scheduler
