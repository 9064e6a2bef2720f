// Reading jobs and data sets from files; see job_files.h.
#include "trainer/engine/job_files.h"

#include "proto/base/file.h"

namespace mh::engine {
namespace {

constexpr std::uint64_t kManifestBytesMax = 16U << 20;

std::string lines_of(const std::vector<scheduler::Problem>& problems, const std::string& name) {
  std::string text;
  for (const scheduler::Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    text += name + ":" + scheduler::problem_text(problem);
  }
  return text;
}

}  // namespace

Result<scheduler::JobSpec> parse_job_text(std::string_view text, const std::string& name) {
  scheduler::ParsedJob parsed = scheduler::parse_job(text);
  if (!parsed.spec) return fail(Errc::kInvalidArgument, lines_of(parsed.problems, name));
  return std::move(*parsed.spec);
}

Result<JobFiles> fit_job(scheduler::JobSpec spec, std::string_view manifest_text,
                         std::filesystem::path chunk_dir) {
  JobFiles files;
  MH_TRY(files.manifest, parse_manifest(manifest_text));
  files.manifest_digest = sha256(manifest_text);
  files.spec = std::move(spec);
  files.chunk_dir = std::move(chunk_dir);
  scheduler::CheckedJob checked =
      scheduler::check_against(files.spec, files.manifest, files.manifest_digest);
  if (!checked.plan)
    return fail(Errc::kInvalidArgument, lines_of(checked.problems, files.spec.name));
  files.plan = std::move(*checked.plan);
  files.train_sample_count = checked.train_sample_count;
  files.step_count = checked.step_count;
  return files;
}

Result<std::filesystem::path> data_folder(const std::vector<std::string>& data,
                                          const std::string& dataset) {
  if (data.empty())
    return fail(Errc::kInvalidArgument, "--data is needed: the folder of data set " + dataset);
  for (const std::string& value : data) {
    if (value.rfind(dataset + "=", 0) == 0)
      return std::filesystem::path(value.substr(dataset.size() + 1));
  }
  for (const std::string& value : data) {
    std::filesystem::path folder(value);
    if (!folder.has_filename()) folder = folder.parent_path();
    if (data.size() == 1 || folder.filename() == dataset) return folder;
  }
  return fail(Errc::kInvalidArgument, "none of the --data folders is for data set " + dataset +
                                          "; name it as " + dataset + "=FOLDER");
}

Result<JobFiles> read_job_files(const std::filesystem::path& job_path,
                                const std::vector<std::string>& data) {
  MH_TRY(const std::string job_text, read_file(job_path, scheduler::kJobTextBytesMax));
  MH_TRY(scheduler::JobSpec spec, parse_job_text(job_text, job_path.string()));
  MH_TRY(const std::filesystem::path folder, data_folder(data, spec.dataset));
  MH_TRY(const std::string manifest_text, read_file(folder / "manifest.json", kManifestBytesMax));
  return fit_job(std::move(spec), manifest_text, folder);
}

}  // namespace mh::engine
