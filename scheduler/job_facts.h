// From a checked job and its data set to what the coordinator must know of it.
// Flow: job_spec (parse, check) -> here -> Coordinator::submit_job. Pure; no threads.
#pragma once

#include "scheduler/events.h"
#include "scheduler/job_spec.h"

namespace mh::scheduler {

// Everything of a submission but request id, job and parameters blobs: name, sizes, costs,
// evaluation, priority, manifest_digest.
// Requires: checked has no problems; spec and manifest are those it was made of.
JobSubmission job_facts(const JobSpec& spec, const CheckedJob& checked,
                        const DatasetManifest& manifest, const Digest& manifest_digest);

}  // namespace mh::scheduler
