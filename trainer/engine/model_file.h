// A trained model as a file (safetensors with its job inside), read and written without torch.
// Flow: `manyhands model download` or reference --output -> read_model_file() -> predict, evaluate.
// What is read is checked as if a stranger had written it. Threads: any; reads and writes files.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "trainer/engine/chunk_source.h"
#include "trainer/engine/engine.h"
#include "trainer/engine/job_files.h"

namespace mh::engine {

/// Writes the model of a job. Errors: kResourceExhausted for a full disk, others of files.
Status write_model_file(const std::filesystem::path& path, const JobFiles& files,
                        std::span<const float> parameters);

/// A model and the samples to try it on.
struct ModelOnData {
  scheduler::JobSpec spec;
  DatasetManifest manifest;
  model::ModelPlan plan;
  std::vector<float> parameters;
  std::filesystem::path chunk_dir;
  /// Not empty where the data set is another one than the model was trained on.
  std::string note;
};

/// Reads a model and fits it to one of the data folders. The data set may be another one than the
/// job's, with samples of the same shape. Errors: kNotFound; kInvalidArgument with what does not
/// fit.
Result<ModelOnData> read_model_file(const std::filesystem::path& path,
                                    const std::vector<std::string>& data);

/// The engine with these parameters, and the samples of `split`.
struct ReadyModel {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<ChunkSource> samples;
};

/// Errors: kNotFound when there is no such split; those of Engine.
Result<ReadyModel> load_model(const ModelOnData& model, const std::string& split,
                              const Device& device);

/// What `predict` and `evaluate` begin with: model, data, device and split as the command line
/// names them, ready to compute. Notes on data and device go to stderr. Errors: of the parts.
struct OpenModel {
  ModelOnData model;
  ReadyModel ready;
};
Result<OpenModel> open_model(const std::filesystem::path& path,
                             const std::vector<std::string>& data, const std::string& split,
                             const std::string& device);

}  // namespace mh::engine
