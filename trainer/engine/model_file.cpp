// Models as files; see model_file.h.
#include "trainer/engine/model_file.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/numerics.h"
#include "trainer/engine/pinned.h"
#include "trainer/update/safetensors.h"

namespace mh::engine {
namespace {

constexpr std::uint64_t kModelBytesMax =
    8 + update::kSafetensorsHeaderBytesMax +
    static_cast<std::uint64_t>(model::kParameterCountMax) * sizeof(float);

/// Samples computed at a time where no gradient is wanted.
constexpr std::uint32_t kRows = 64;

Error bad(const std::filesystem::path& path, const std::string& what) {
  return fail(Errc::kInvalidArgument, path.string() + ": " + what);
}

/// The file's tensors must be those of the plan, one by one.
Status check_tensors(const std::filesystem::path& path, const model::ModelPlan& plan,
                     const update::SafetensorsView& view) {
  if (view.parameters.size() != plan.parameters.size()) {
    return bad(path, "it holds " + std::to_string(view.parameters.size()) +
                         " tensors, its job describes " + std::to_string(plan.parameters.size()));
  }
  for (std::size_t i = 0; i < plan.parameters.size(); ++i) {
    const model::ParameterSpec& wanted = plan.parameters[i];
    const model::ParameterSpec& present = view.parameters[i];
    if (present.name != wanted.name || present.shape != wanted.shape) {
      return bad(path, "tensor " + std::to_string(i) + " is " + present.name + " " +
                           model::shape_text(present.shape) + ", its job describes " + wanted.name +
                           " " + model::shape_text(wanted.shape));
    }
  }
  return {};
}

}  // namespace

Status write_model_file(const std::filesystem::path& path, const JobFiles& files,
                        std::span<const float> parameters) {
  const update::TextByKey metadata = {
      {"format", "pt"}, {"job", scheduler::canonical_job_json(files.spec, files.manifest_digest)}};
  std::string content = update::safetensors_head(files.plan.parameters, metadata);
  content += as_text(std::as_bytes(parameters));
  return write_file_atomically(path, content);
}

Result<ModelOnData> read_model_file(const std::filesystem::path& path,
                                    const std::vector<std::string>& data) {
  MH_TRY(const MappedFile file, MappedFile::open(path, kModelBytesMax));
  Result<update::SafetensorsView> view = update::view_safetensors(file.bytes());
  if (!view) return bad(path, view.error().message);
  const auto job = view->metadata.find("job");
  if (job == view->metadata.end()) {
    return bad(path,
               "its metadata has no 'job', which describes the model; only files from "
               "'manyhands model download' and 'reference --output' can be used");
  }
  if (job->second.size() > scheduler::kJobTextBytesMax) return bad(path, "its job is too long");
  ModelOnData model;
  MH_TRY(model.spec, parse_job_text(job->second, path.string()));
  MH_TRY(model.chunk_dir, data_folder(data, model.spec.dataset));
  MH_TRY(update::DataFolder folder, update::open_data_folder(model.chunk_dir));
  if (model.spec.manifest && *model.spec.manifest != folder.manifest_digest) {
    model.note = model.chunk_dir.string() + " is not the data set that " + path.string() +
                 " was trained on (" + model.spec.dataset +
                 "): its own mean and deviation are used";
  }
  model.manifest = std::move(folder.manifest);
  Result<model::ModelPlan> plan =
      model::plan_model(model.spec.model, scheduler::sample_info(model.manifest));
  if (!plan) {
    return fail(Errc::kInvalidArgument, path.string() + " does not fit the samples of " +
                                            model.chunk_dir.string() + ": " + plan.error().message);
  }
  model.plan = std::move(*plan);
  MH_TRY_VOID(check_tensors(path, model.plan, *view));
  model.parameters.resize(model.plan.parameter_count);
  std::memcpy(model.parameters.data(), view->values.data(), view->values.size());
  return model;
}

Result<ReadyModel> load_model(const ModelOnData& model, const std::string& split,
                              const Device& device) {
  EngineJob job;
  job.plan = model.plan;
  job.seed = model.spec.seed;
  job.micro_batch = kRows;
  ReadyModel ready;
  const bool normalize = model.spec.normalize && !model.plan.input_is_index;
  MH_TRY(ChunkSource samples, ChunkSource::open(model.manifest, split, model.chunk_dir, normalize,
                                                update::ChunkCheck::kDigest));
  ready.samples = std::make_unique<ChunkSource>(std::move(samples));
  MH_TRY(ready.engine, Engine::create(std::move(job), device));
  MH_TRY_VOID(ready.engine->set_parameters(model.parameters));
  return ready;
}

Result<OpenModel> open_model(const std::filesystem::path& path,
                             const std::vector<std::string>& data, const std::string& split,
                             const std::string& device) {
  keep_freed_memory();
  OpenModel open;
  MH_TRY(open.model, read_model_file(path, data));
  // To look at a model is allowed anywhere; the last bits differ where it was not pinned.
  if (!cpu_level().empty()) MH_TRY_VOID(start_again_if_pinned(open.model.spec));
  MH_TRY(const Device opened, open_device(device, static_cast<int>(open.model.spec.threads)));
  for (const std::string& note : {open.model.note, opened.note}) {
    if (!note.empty()) std::fprintf(stderr, "manyhands-trainer: note: %s\n", note.c_str());
  }
  MH_TRY(open.ready, load_model(open.model, split, opened));
  return open;
}

}  // namespace mh::engine
