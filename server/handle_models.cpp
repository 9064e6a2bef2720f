// ModelService: checkpoints of a job, as files that other programs read.
#include <algorithm>

#include "manyhands/v1/admin.pb.h"
#include "proto/base/utf8.h"
#include "proto/net/async.h"
#include "proto/net/message.h"
#include "server/handler.h"
#include "server/handlers.h"
#include "server/job_messages.h"
#include "trainer/update/safetensors.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {
namespace {

v1::Model model_message(std::uint64_t job_id, const scheduler::ModelView& view) {
  v1::Model message;
  message.set_job_id(job_id);
  message.set_step(view.step);
  message.set_parameters_digest(view.parameters_digest.hex());
  message.set_is_latest(view.is_latest);
  message.set_is_best(view.is_best);
  if (view.evaluation) *message.mutable_evaluation() = to_message(*view.evaluation);
  return message;
}

asio::awaitable<Result<v1::ListModelsResponse>> list_models(Core& core, net::CallContext context,
                                                            v1::ListModelsRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const JobId job(request.job_id());
  if (!core.coordinator().job(job, core.now())) co_return no_such_job(request.job_id());
  v1::ListModelsResponse response;
  for (const scheduler::ModelView& view : core.coordinator().models(job))
    *response.add_models() = model_message(request.job_id(), view);
  co_return response;
}

Result<scheduler::ModelView> choose_model(const std::vector<scheduler::ModelView>& models,
                                          const std::string& which) {
  if (which.empty() || which == "latest" || which == "best") {
    const bool wants_best = which == "best";
    for (const scheduler::ModelView& model : models) {
      if (wants_best ? model.is_best : model.is_latest) return model;
    }
    return fail(Errc::kNotFound, wants_best ? "the job has no evaluated checkpoint yet"
                                            : "the job has no checkpoint");
  }
  const auto step = net::parse_decimal(which);
  if (!step) {
    return fail(Errc::kInvalidArgument,
                "which: \"" + plain_text(which, 32) + "\" is none of latest, best, a step number");
  }
  std::string kept;
  for (const scheduler::ModelView& model : models) {
    if (model.step == *step) return model;
    kept += (kept.empty() ? "" : ", ") + std::to_string(model.step);
  }
  return fail(Errc::kNotFound,
              "the parameters after step " + which + " are not kept; kept are those after " + kept);
}

struct ExportedModel {
  Digest digest;
  std::uint64_t bytes = 0;
};

Result<ExportedModel> export_model(BlobStore& blobs, const JobModel& model,
                                   const scheduler::ModelView& view) {
  MH_TRY(const MappedFile file, blobs.map(view.parameters_digest));
  MH_TRY(const update::PackView pack,
         update::view_pack(file.bytes(), update::PackKind::kParameters, model.plan().layout_digest,
                           model.plan().parameter_count));
  std::string content = update::safetensors_head(
      model.plan().parameters, {{"format", "pt"},
                                {"job", model.canonical_json},
                                {"step", std::to_string(view.step)},
                                {"parameters_digest", view.parameters_digest.hex()}});
  content.append(reinterpret_cast<const char*>(pack.payload.data()), pack.payload.size());
  MH_TRY(const Digest digest, blobs.put(content));
  return ExportedModel{digest, content.size()};
}

asio::awaitable<Result<v1::ExportModelResponse>> export_model_call(Core& core,
                                                                   net::CallContext context,
                                                                   v1::ExportModelRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const JobId job(request.job_id());
  if (!core.coordinator().job(job, core.now())) co_return no_such_job(request.job_id());
  MH_CO_TRY(const scheduler::ModelView view,
            choose_model(core.coordinator().models(job), request.which()));
  MH_CO_TRY(const JobModelPtr model, co_await core.job_model(job));
  auto make = [&blobs = core.blobs(), model, view] { return export_model(blobs, *model, view); };
  MH_CO_TRY(const ExportedModel exported, co_await net::run_on(core.pool(), std::move(make)));
  core.keep_export(exported.digest);
  v1::ExportModelResponse response;
  *response.mutable_model() = model_message(request.job_id(), view);
  response.set_safetensors_digest(exported.digest.hex());
  response.set_safetensors_bytes(exported.bytes);
  co_return response;
}

}  // namespace

void add_model_service(net::ServiceTable& table, Core& core) {
  add_call(table, core, "ModelService/ListModels", &list_models);
  add_call(table, core, "ModelService/ExportModel", &export_model_call, Needs::kRoom);
}

}  // namespace mh::server
