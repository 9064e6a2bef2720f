// A job and its data set, read from files: what `reference`, `predict` and `evaluate` are given on
// the command line and what `serve` is given in frames. Everything read is checked as if a stranger
// had written it. Threads: any; reads files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "scheduler/job_spec.h"

namespace mh::engine {

/// A job that fits its data set.
struct JobFiles {
  scheduler::JobSpec spec;
  DatasetManifest manifest;
  Digest manifest_digest;
  /// Folder of the chunks, each named by its digest in hex.
  std::filesystem::path chunk_dir;
  /// Shapes, parameters and costs.
  model::ModelPlan plan;
  std::uint64_t train_sample_count = 0;
  std::uint64_t step_count = 0;
};

/// Reads a job file (YAML or canonical JSON). `name` stands in front of each problem. Errors:
/// kInvalidArgument with one line a problem.
Result<scheduler::JobSpec> parse_job_text(std::string_view text, const std::string& name);

/// Fits a job to the manifest text of its data set. Errors: kInvalidArgument.
Result<JobFiles> fit_job(scheduler::JobSpec spec, std::string_view manifest_text,
                         std::filesystem::path chunk_dir);

/// The folder of data set `dataset` among the values of --data: the only one given; of several, the
/// one given as "dataset=FOLDER" or whose last part is the name. Errors: kInvalidArgument.
Result<std::filesystem::path> data_folder(const std::vector<std::string>& data,
                                          const std::string& dataset);

/// Job file and --data as given on the command line. Errors: kNotFound, kInvalidArgument.
Result<JobFiles> read_job_files(const std::filesystem::path& job_path,
                                const std::vector<std::string>& data);

}  // namespace mh::engine
