// `manyhands-trainer gradient`: workunits from files to files, without a server; what
// `manyhands verify --recompute` starts.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/options.h"
#include "trainer/engine/loaded_job.h"
#include "trainer/engine/program.h"
#include "trainer/update/tensor_pack.h"

namespace mh::engine {
namespace {

constexpr std::uint64_t kListBytesMax = 64U << 20;

struct Arguments {
  std::string job;
  std::vector<std::string> data;
  std::string device = "cpu";
  std::string list;
  std::string parameters;
  std::string output;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// One workunit.
struct Work {
  std::string parameters;
  scheduler::ShardRange range;
  std::string output;
};

Result<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end) return value;
  return fail(Errc::kInvalidArgument, "'" + text.substr(0, 32) + "' is no whole number");
}

Result<std::vector<Work>> read_list(const std::string& path) {
  MH_TRY(const std::string text, read_file(path, kListBytesMax));
  std::vector<Work> works;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream words(line);
    for (std::string word; std::getline(words, word, '\t');) fields.push_back(word);
    if (fields.size() != 4)
      return fail(Errc::kInvalidArgument,
                  path + ": line " + std::to_string(works.size() + 1) +
                      " has not four fields: parameters, begin, end, output, a tab between them");
    MH_TRY(const std::uint64_t begin, number(fields[1]));
    MH_TRY(const std::uint64_t end, number(fields[2]));
    works.push_back({fields[0], {begin, end}, fields[3]});
  }
  return works;
}

Result<std::vector<Work>> works_of(const Arguments& arguments) {
  if (!arguments.list.empty()) return read_list(arguments.list);
  if (arguments.parameters.empty() || arguments.output.empty() || arguments.end == 0)
    return fail(Errc::kInvalidArgument,
                "give --parameters, --begin, --end and --output, or --list");
  return std::vector<Work>{
      {arguments.parameters, {arguments.begin, arguments.end}, arguments.output}};
}

/// Loads parameters when others are asked for.
class Gradients {
 public:
  explicit Gradients(LoadedJob& job) : job_(job), gradient_(job.files().plan.parameter_count) {}

  Status compute(const Work& work) {
    MH_TRY_VOID(load(work.parameters));
    MH_TRY(const Sums sums, job_.gradient(work.range, gradient_));
    update::PackHeader header;
    header.kind = update::PackKind::kGradientSum;
    header.element_count = gradient_.size();
    header.step = step_;
    header.sample_count = sums.sample_count;
    header.layout_digest = job_.files().plan.layout_digest;
    const std::vector<std::byte> pack = update::make_pack(header, gradient_);
    MH_TRY_VOID(write_file_atomically(work.output,
                                      {reinterpret_cast<const char*>(pack.data()), pack.size()}));
    std::printf("%s %s\n", sha256(pack).hex().c_str(), work.output.c_str());
    std::fflush(stdout);
    return {};
  }

 private:
  Status load(const std::string& path) {
    if (path == loaded_) return {};
    loaded_.clear();
    const model::ModelPlan& plan = job_.files().plan;
    MH_TRY(const MappedFile file, MappedFile::open(path));
    const auto pack = update::view_pack(file.bytes(), update::PackKind::kParameters,
                                        plan.layout_digest, plan.parameter_count);
    if (!pack) return fail(pack.error().code, path + ": " + pack.error().message);
    MH_TRY_VOID(job_.set_parameters(pack->values()));
    step_ = pack->header.step;
    loaded_ = path;
    return {};
  }

  LoadedJob& job_;
  std::vector<float> gradient_;
  std::string loaded_;
  std::uint64_t step_ = 0;
};

Result<int> run(const Arguments& arguments) {
  keep_freed_memory();
  MH_TRY(const std::vector<Work> works, works_of(arguments));
  MH_TRY(JobFiles files, read_job_files(arguments.job, arguments.data));
  const int threads = static_cast<int>(files.spec.threads);
  MH_TRY(const Device device, open_device(arguments.device, threads));
  if (!device.note.empty())
    std::fprintf(stderr, "manyhands-trainer: on the CPU: %s\n", device.note.c_str());
  MH_TRY(const std::unique_ptr<LoadedJob> job,
         LoadedJob::load(std::move(files), device, threads, update::ChunkCheck::kDigest));
  Gradients gradients(*job);
  for (const Work& work : works) MH_TRY_VOID(gradients.compute(work));
  return kExitDone;
}

}  // namespace

void define_gradient(CLI::App& app, VerbRun& chosen) {
  CLI::App* verb = add_verb(
      app, "gradient",
      "Compute workunits alone: the sum of gradients over positions of the job's sample stream, at "
      "given parameters, written as a tensor pack",
      "manyhands-trainer gradient job.yaml --data data/digits --parameters p.pack --begin 0 "
      "--end 32 --output update.pack");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("job", arguments->job, "The job file (YAML or canonical JSON)")->required();
  add_data_option(*verb, arguments->data);
  add_device_option(*verb, arguments->device);
  verb->add_option("--parameters", arguments->parameters, "The parameters (tensor pack)");
  verb->add_option("--begin", arguments->begin, "First position");
  verb->add_option("--end", arguments->end, "Position after the last");
  verb->add_option("--output", arguments->output, "The file to write; a line tells its SHA-256");
  verb->add_option("--list", arguments->list,
                   "Instead: a file with a line for each workunit: parameters, begin, end, output, "
                   "a tab between them");
  verb->callback([&chosen, arguments] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace mh::engine
