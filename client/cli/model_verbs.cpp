// `manyhands model list|download`.
#include <filesystem>

#include "client/cli/job_text.h"
#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/admin.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;
namespace fs = std::filesystem;

Result<int> run_list(Context& context, const std::string& job) {
  v1::ListModelsRequest request;
  MH_TRY(const auto id, find_job(context, job));
  request.set_job_id(id);
  MH_TRY(const auto reply,
         context.call<v1::ListModelsResponse>("ModelService/ListModels", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  constexpr auto kRight = Table::Align::kRight;
  Table table(
      {{"STEPS DONE", kRight}, {"WHICH"}, {"ACCURACY", kRight}, {"LOSS", kRight}, {"PARAMETERS"}});
  for (const v1::Model& model : reply.models()) {
    std::string which = model.is_latest() ? "latest" : "";
    if (model.is_best()) which += which.empty() ? "best" : ", best";
    const bool has_evaluation = model.has_evaluation();
    table.add_row({with_commas(model.step()), which,
                   has_evaluation ? accuracy_text(model.evaluation().accuracy()) : "—",
                   has_evaluation ? decimal(model.evaluation().loss(), 4) : "—",
                   model.parameters_digest().substr(0, 16)});
  }
  context.out() << table.text();
  return kExitDone;
}

struct DownloadArguments {
  std::string job;
  std::string output;
  std::string which = "latest";
  bool is_forced = false;
};

Status check_output(const fs::path& output, bool is_forced) {
  std::error_code error;
  if (fs::is_directory(output, error))
    return fail(Errc::kInvalidArgument,
                output.string() + " is a folder: give a file with --output");
  if (fs::exists(output, error) && !is_forced)
    return fail(Errc::kInvalidArgument,
                output.string() + " is there already: give another --output, or --force");
  const fs::path folder = fs::absolute(output, error).parent_path();
  if (!fs::is_directory(folder, error))
    return fail(Errc::kInvalidArgument, "the folder " + folder.string() + " does not exist");
  return {};
}

Result<int> run_download(Context& context, const DownloadArguments& arguments) {
  const fs::path output = arguments.output.empty()
                              ? fs::path("model-" + arguments.job + ".safetensors")
                              : fs::path(arguments.output);
  MH_TRY_VOID(check_output(output, arguments.is_forced));
  v1::ExportModelRequest request;
  MH_TRY(const auto id, find_job(context, arguments.job));
  request.set_job_id(id);
  request.set_which(arguments.which);
  MH_TRY(const auto reply,
         context.call<v1::ExportModelResponse>("ModelService/ExportModel", request));
  MH_TRY(const Digest digest, Digest::from_hex(reply.safetensors_digest()));
  const bool is_live = Context::is_terminal(2) && reply.safetensors_bytes() > (8u << 20);
  MH_TRY_VOID(context.download(digest, output, [&](std::uint64_t done, std::uint64_t total) {
    if (is_live)
      context.err() << "\r" << bytes_text(static_cast<double>(done)) << " of "
                    << bytes_text(static_cast<double>(total)) << "   " << std::flush;
  }));
  if (is_live) context.err() << "\n";
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  const v1::Model& model = reply.model();
  context.out() << "Parameters of job " << model.job_id() << " after " << with_commas(model.step())
                << " steps are in " << output.string() << " ("
                << bytes_text(static_cast<double>(reply.safetensors_bytes()))
                << ", digest verified)";
  if (model.has_evaluation())
    context.out() << "; " << printable(model.evaluation().split()) << " accuracy "
                  << accuracy_text(model.evaluation().accuracy());
  context.out() << ".\n";
  return kExitDone;
}

VerbRun define_list(OptionSink& options) {
  const auto job = std::make_shared<std::string>();
  options.positional("job", *job, "Id or name of the job");
  return [job](Context& context) { return run_list(context, *job); };
}

VerbRun define_download(OptionSink& options) {
  const auto arguments = std::make_shared<DownloadArguments>();
  options.positional("job", arguments->job, "Id or name of the job");
  options.text("--output", arguments->output, "The file to write; default: model-JOB.safetensors");
  options.text("--which", arguments->which, "latest, best, or a number of steps done");
  options.flag("--force", arguments->is_forced, "Overwrite the file");
  return [arguments](Context& context) { return run_download(context, *arguments); };
}

}  // namespace

std::vector<Verb> model_verbs() {
  return {{"model", "list", "Show the checkpoints of a job that can be downloaded",
           "manyhands model list 1", define_list},
          {"model", "download", "Download a model as safetensors, verified",
           "manyhands model download 1 --which best --output model.safetensors", define_download}};
}

}  // namespace mh::cli
