// From the text of a job file to a job: check it against the data sets of this server, make its
// blobs (canonical specification, first parameters).
// Threads: the state strand; parsing, checking and making parameters happen on the pool.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/job_spec.h"
#include "server/core.h"

namespace mh::server {

// What a job file turned out to be: problems, or a spec that fits its data set.
struct JobFile {
  std::vector<scheduler::Problem> problems;
  // Present when there are no problems.
  std::optional<scheduler::JobSpec> spec;
  std::optional<scheduler::CheckedJob> checked;
  Digest manifest_digest;
  ManifestPtr manifest;
};

asio::awaitable<JobFile> read_job_file(Core& core, std::string yaml);

// Every problem on a line of its own. Requires: there are problems.
std::string problems_text(const std::vector<scheduler::Problem>& problems);

// Stores the blobs of a job and returns what the coordinator must know of it, all but the request
// id. Requires: no problems. Errors: kResourceExhausted (disk full), kInternal.
asio::awaitable<Result<scheduler::JobSubmission>> prepare_job(Core& core, JobFile file);

}  // namespace mh::server
