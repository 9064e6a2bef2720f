// See dataset_import.h. Files are read and checked first; then the server is asked which chunks it
// lacks, those are uploaded, and last the manifest gets its name. An import that was cut goes on
// where it stopped when the command is given again.
#include "client/cli/dataset_import.h"

#include <set>

#include "client/cli/import/import.h"
#include "client/cli/table.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

constexpr int kFindBlobsMax = 4096;

struct ImportArguments {
  std::string name;
  std::string train_inputs, train_targets;
  std::string val_inputs, val_targets;
  std::string test_inputs, test_targets;
  std::vector<std::string> cuts;
  std::string class_names;
  std::uint64_t seed = 0;
  bool targets_are_numbers = false;
  std::string to_dir;
};

// Whatever is wrong with the files is wrong input.
Error as_input_error(Error error) {
  if (error.code == Errc::kNotFound) error.code = Errc::kInvalidArgument;
  return error;
}

Result<ImportOptions> import_options(const ImportArguments& arguments) {
  ImportOptions options;
  const auto add = [&](const char* split, const std::string& inputs,
                       const std::string& targets) -> Status {
    if (inputs.empty() != targets.empty())
      return fail(Errc::kInvalidArgument, std::string("--") + split + "-inputs and --" + split +
                                              "-targets go together: one is missing");
    if (!inputs.empty()) options.files[split] = {inputs, targets};
    return {};
  };
  MH_TRY_VOID(add("train", arguments.train_inputs, arguments.train_targets));
  MH_TRY_VOID(add("val", arguments.val_inputs, arguments.val_targets));
  MH_TRY_VOID(add("test", arguments.test_inputs, arguments.test_targets));
  if (!options.files.contains("train"))
    return fail(Errc::kInvalidArgument, "--train-inputs and --train-targets are needed");
  for (const std::string& text : arguments.cuts) {
    MH_TRY(SplitCut cut, parse_split_cut(text));
    options.cuts.push_back(std::move(cut));
  }
  if (!arguments.class_names.empty()) {
    MH_TRY(options.class_names, parse_class_names(arguments.class_names));
  }
  options.seed = arguments.seed;
  options.targets_are_numbers = arguments.targets_are_numbers;
  return options;
}

// A manifest shown like a registered data set.
v1::Dataset describe(const ImportPlan& plan, const std::string& name) {
  const DatasetManifest& manifest = plan.manifest;
  v1::Dataset dataset;
  dataset.set_name(name);
  dataset.set_manifest_digest(plan.manifest_digest.hex());
  dataset.set_input_dtype(std::string(data_type_name(manifest.input.dtype)));
  dataset.set_target_dtype(std::string(data_type_name(manifest.target.dtype)));
  for (const auto size : manifest.input.shape)
    dataset.add_input_shape(static_cast<std::uint64_t>(size));
  for (const auto size : manifest.target.shape)
    dataset.add_target_shape(static_cast<std::uint64_t>(size));
  dataset.set_class_count(static_cast<std::uint32_t>(manifest.class_count));
  for (const std::string& class_name : manifest.class_names) dataset.add_class_names(class_name);
  for (const std::string_view split_name : kSplitNames) {
    const SplitInfo* info = manifest.find_split(split_name);
    if (info == nullptr) continue;
    v1::DatasetSplit& split = *dataset.add_splits();
    split.set_name(std::string(split_name));
    split.set_sample_count(info->count);
    split.set_chunk_count(static_cast<std::uint32_t>(info->chunks.size()));
    for (const std::uint64_t count : info->class_counts) split.add_class_counts(count);
  }
  dataset.set_bytes(manifest.chunk_bytes());
  return dataset;
}

// Refuses before anything is uploaded if the name stands for something else.
Status check_name(Context& context, const ImportPlan& plan, const std::string& name) {
  v1::GetDatasetRequest request;
  request.set_name(name);
  const auto present = context.call<v1::GetDatasetResponse>("DatasetService/GetDataset", request);
  if (!present.has_value()) {
    if (present.error().code == Errc::kNotFound) return {};
    return present.error();
  }
  if (present->dataset().manifest_digest() == plan.manifest_digest.hex()) return {};
  return fail(Errc::kAlreadyExists,
              "the server has another data set named '" + name + "' (manifest " +
                  present->dataset().manifest_digest().substr(0, 12) + "…, these files make " +
                  plan.manifest_digest.hex().substr(0, 12) +
                  "…): choose another name, or remove that one first");
}

Result<std::set<Digest>> find_missing(Context& context, const std::vector<Digest>& digests) {
  std::set<Digest> missing;
  for (std::size_t begin = 0; begin < digests.size(); begin += kFindBlobsMax) {
    v1::FindBlobsRequest request;
    for (std::size_t i = begin; i < std::min(digests.size(), begin + kFindBlobsMax); ++i)
      request.add_digests(digests[i].hex());
    MH_TRY(const auto reply,
           context.call<v1::FindBlobsResponse>("DatasetService/FindBlobs", request));
    for (const std::string& hex : reply.missing_digests()) {
      MH_TRY(const Digest digest, Digest::from_hex(hex));
      missing.insert(digest);
    }
  }
  return missing;
}

// Uploads the chunks that the server lacks and shows how far it is.
class Uploader final : public ChunkSink {
 public:
  Uploader(Context& context, std::set<Digest> missing, std::uint64_t bytes_total)
      : context_(context), missing_(std::move(missing)), bytes_total_(bytes_total) {}
  ~Uploader() override {
    if (has_line_) context_.err() << "\n";
  }

  bool is_wanted(const Digest& digest) override { return missing_.contains(digest); }
  Status put(const Digest& digest, std::span<const std::byte> bytes) override {
    MH_TRY_VOID(context_.upload(
        std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), digest));
    missing_.erase(digest);
    bytes_done_ += bytes.size();
    if (Context::is_terminal(2)) {
      has_line_ = true;
      context_.err() << "\ruploaded " << bytes_text(static_cast<double>(bytes_done_)) << " of "
                     << bytes_text(static_cast<double>(bytes_total_)) << "   " << std::flush;
    }
    return {};
  }
  std::uint64_t bytes_done() const { return bytes_done_; }

 private:
  Context& context_;
  std::set<Digest> missing_;
  const std::uint64_t bytes_total_;
  std::uint64_t bytes_done_ = 0;
  bool has_line_ = false;
};

std::uint64_t bytes_of(const ImportPlan& plan, const std::set<Digest>& digests) {
  std::uint64_t bytes = 0;
  std::set<Digest> seen;
  for (const auto& [name, split] : plan.manifest.splits) {
    for (const ChunkInfo& chunk : split.chunks) {
      if (digests.contains(chunk.digest) && seen.insert(chunk.digest).second) bytes += chunk.bytes;
    }
  }
  return bytes;
}

Result<int> import_to_server(Context& context, const ImportArguments& arguments,
                             const ImportOptions& options) {
  const auto plan = plan_import(options);
  if (!plan.has_value()) return as_input_error(plan.error());
  MH_TRY_VOID(check_name(context, *plan, arguments.name));
  MH_TRY(std::set<Digest> missing, find_missing(context, plan->manifest.chunk_digests()));
  const std::uint64_t bytes = bytes_of(*plan, missing);
  const bool missing_all = missing.size() == plan->manifest.chunk_digests().size();
  std::uint64_t bytes_done = 0;
  if (!missing.empty()) {
    Uploader uploader(context, std::move(missing), bytes);
    MH_TRY_VOID(emit_chunks(*plan, uploader));
    bytes_done = uploader.bytes_done();
  }
  MH_TRY_VOID(context.upload(plan->manifest_json, plan->manifest_digest));
  v1::RegisterDatasetRequest request;
  request.set_name(arguments.name);
  request.set_manifest_digest(plan->manifest_digest.hex());
  MH_TRY(const auto reply,
         context.call<v1::RegisterDatasetResponse>("DatasetService/RegisterDataset", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  context.out() << "Data set '" << printable(arguments.name) << "' is on the server; "
                << bytes_text(static_cast<double>(bytes_done)) << " of "
                << bytes_text(static_cast<double>(plan->manifest.chunk_bytes())) << " uploaded"
                << (missing_all ? "" : ", the rest was there") << ".\n\n"
                << dataset_text(reply.dataset());
  return kExitDone;
}

Result<int> run_import(Context& context, const ImportArguments& arguments) {
  MH_TRY(const ImportOptions options, import_options(arguments));
  if (arguments.to_dir.empty()) return import_to_server(context, arguments, options);
  const auto plan = import_to_directory(options, arguments.to_dir);
  if (!plan.has_value()) return as_input_error(plan.error());
  const v1::Dataset dataset = describe(*plan, arguments.name);
  if (context.wants_json())
    context.print_json(dataset);
  else
    context.out() << "Data set '" << printable(arguments.name) << "' is in " << arguments.to_dir
                  << ".\n\n"
                  << dataset_text(dataset);
  return kExitDone;
}

}  // namespace

Verb dataset_import_verb() {
  return {"dataset", "import",
          "Bring a data set to the server, from IDX (also .gz) or NumPy .npy files",
          "manyhands dataset import digits --train-inputs x.npy --train-targets y.npy --split "
          "test=0.2",
          [](OptionSink& options) -> VerbRun {
            const auto arguments = std::make_shared<ImportArguments>();
            options.positional("name", arguments->name, "What it is called on the server");
            options.text("--train-inputs", arguments->train_inputs, "Inputs to train on");
            options.text("--train-targets", arguments->train_targets, "Their targets");
            options.text("--val-inputs", arguments->val_inputs, "Inputs of the split val");
            options.text("--val-targets", arguments->val_targets, "Their targets");
            options.text("--test-inputs", arguments->test_inputs, "Inputs of the split test");
            options.text("--test-targets", arguments->test_targets, "Their targets");
            options.texts("--split", arguments->cuts,
                          "Cut a share off the train files: test=0.2 (may be repeated)");
            options.number("--seed", arguments->seed, 0, UINT64_MAX, "Chooses which are cut off");
            options.text("--class-names", arguments->class_names, "cat,dog,…: names of 0, 1, …");
            options.flag("--targets-are-numbers", arguments->targets_are_numbers,
                         "Whole-number targets are to be predicted as numbers, not classes");
            options.text("--to-dir", arguments->to_dir,
                         "Write it to this folder, without a server");
            return [arguments](Context& context) { return run_import(context, *arguments); };
          }};
}

}  // namespace mh::cli
