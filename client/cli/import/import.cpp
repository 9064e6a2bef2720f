// Making a manifest and its chunks; see import.h.
#include "client/cli/import/import.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <system_error>

#include "client/cli/import/sample_walk.h"
#include "client/cli/import/statistics.h"
#include "proto/base/file.h"
#include "proto/base/utf8.h"

namespace mh::cli {
namespace {

Error bad(const std::string& what) { return fail(Errc::kInvalidArgument, what); }

/// Called with split, number of the chunk within it, samples and bytes.
using ChunkUse = std::function<Status(const std::string&, std::size_t, std::uint64_t,
                                      std::span<const std::byte>)>;

/// Collects the samples of one split until a chunk is full.
class ChunkBuilder {
 public:
  ChunkBuilder(std::string split, std::uint64_t samples_max)
      : split_(std::move(split)), samples_max_(samples_max) {}

  Status add(std::span<const std::byte> input, std::span<const std::byte> target,
             const ChunkUse& use) {
    inputs_.insert(inputs_.end(), input.begin(), input.end());
    targets_.insert(targets_.end(), target.begin(), target.end());
    return ++samples_ == samples_max_ ? flush(use) : Status();
  }

  Status flush(const ChunkUse& use) {
    if (samples_ == 0) return {};
    inputs_.insert(inputs_.end(), targets_.begin(), targets_.end());
    MH_TRY_VOID(use(split_, next_chunk_, samples_, inputs_));
    ++next_chunk_;
    samples_ = 0;
    inputs_.clear();
    targets_.clear();
    return {};
  }

 private:
  std::string split_;
  std::uint64_t samples_max_;
  std::size_t next_chunk_ = 0;
  std::uint64_t samples_ = 0;
  std::vector<std::byte> inputs_;
  std::vector<std::byte> targets_;
};

/// Cuts every split into chunks.
class Chunker {
 public:
  Chunker(std::uint64_t sample_bytes, ChunkUse use)
      : samples_max_(
            std::clamp<std::uint64_t>(kImportChunkBytes / sample_bytes, 1, kImportChunkSamples)),
        use_(std::move(use)) {}

  Status add(std::string_view split, std::span<const std::byte> input,
             std::span<const std::byte> target) {
    auto found = builders_.find(split);
    if (found == builders_.end()) {
      found = builders_.emplace(split, ChunkBuilder(std::string(split), samples_max_)).first;
    }
    return found->second.add(input, target, use_);
  }

  Status finish() {
    for (auto& [split, builder] : builders_) MH_TRY_VOID(builder.flush(use_));
    return {};
  }

 private:
  std::uint64_t samples_max_;
  ChunkUse use_;
  std::map<std::string, ChunkBuilder, std::less<>> builders_;
};

/// Makes the manifest: checks every value, sums statistics, hashes chunks.
class ManifestMaker : public SampleVisitor {
 public:
  explicit ManifestMaker(const ImportOptions& options) : options_(options) {}

  Status begin(const SampleTensor& input, const SampleTensor& target) override {
    manifest_.input = input;
    manifest_.target = target;
    has_classes_ = is_integer(target.dtype) && !options_.targets_are_numbers;
    if (!has_classes_ && !options_.class_names.empty()) {
      return bad("class names are given, but the targets are numbers, not classes");
    }
    class_limit_ = options_.class_names.empty() ? kClassCountMax : options_.class_names.size();
    statistics_.emplace(input, manifest_.channel_count());
    chunker_.emplace(
        manifest_.sample_bytes(),
        [this](const std::string& split, std::size_t, std::uint64_t count,
               std::span<const std::byte> bytes) -> Status {
          manifest_.splits[split].chunks.push_back({sha256(bytes), bytes.size(), count});
          return {};
        });
    return {};
  }

  Status sample(std::string_view split, std::span<const std::byte> input,
                std::span<const std::byte> target) override {
    MH_TRY_VOID(check_finite("input", manifest_.input, input));
    MH_TRY_VOID(check_finite("target", manifest_.target, target));
    auto found = manifest_.splits.find(split);
    if (found == manifest_.splits.end()) found = manifest_.splits.emplace(split, SplitInfo()).first;
    SplitInfo& info = found->second;
    ++info.count;
    if (has_classes_) {
      const Status counted =
          count_classes(manifest_.target.dtype, target, class_limit_, info.class_counts);
      if (!counted) return bad(counted.error().message + class_hint());
    }
    if (split == "train") statistics_->add(input);
    return chunker_->add(split, input, target);
  }

  Result<DatasetManifest> finish() {
    MH_TRY_VOID(chunker_->finish());
    manifest_.normalization = statistics_->finish();
    if (has_classes_) {
      manifest_.class_names = options_.class_names;
      manifest_.class_count = options_.class_names.size();
      for (const auto& [name, split] : manifest_.splits) {
        manifest_.class_count =
            std::max<std::uint64_t>(manifest_.class_count, split.class_counts.size());
      }
      for (auto& [name, split] : manifest_.splits) split.class_counts.resize(manifest_.class_count);
    }
    MH_TRY_VOID(check_manifest(manifest_));
    return std::move(manifest_);
  }

 private:
  static Status check_finite(const char* what, const SampleTensor& tensor,
                             std::span<const std::byte> bytes) {
    if (tensor.dtype != DataType::kF32) return {};
    const std::size_t index = first_not_finite(bytes);
    if (index == tensor.element_count()) return {};
    return bad(std::string(what) + " number " + std::to_string(index) +
               " is NaN or infinite; remove or repair the sample");
  }

  std::string class_hint() const {
    return options_.class_names.empty()
               ? "; give --targets-are-numbers if the targets are no classes"
               : " (" + std::to_string(options_.class_names.size()) + " class names are given)";
  }

  const ImportOptions& options_;
  DatasetManifest manifest_;
  bool has_classes_ = false;
  std::uint64_t class_limit_ = 0;
  std::optional<InputStatistics> statistics_;
  std::optional<Chunker> chunker_;
};

/// Gives every chunk to a sink, after comparing it with the plan.
class ChunkEmitter : public SampleVisitor {
 public:
  ChunkEmitter(const DatasetManifest& manifest, ChunkSink& sink)
      : manifest_(manifest),
        sink_(sink),
        chunker_(manifest.sample_bytes(),
                 [this](const std::string& split, std::size_t index, std::uint64_t,
                        std::span<const std::byte> bytes) { return emit(split, index, bytes); }) {}

  Status begin(const SampleTensor& input, const SampleTensor& target) override {
    if (input == manifest_.input && target == manifest_.target) return {};
    return changed();
  }
  Status sample(std::string_view split, std::span<const std::byte> input,
                std::span<const std::byte> target) override {
    return failure_ ? *failure_ : chunker_.add(split, input, target);
  }
  Status finish() { return chunker_.finish(); }
  /// The error of the sink, without the name of the file being read.
  const std::optional<Error>& failure() const { return failure_; }

 private:
  static Error changed() {
    return fail(Errc::kAborted, "a file has changed during the import; import again");
  }

  Status emit(const std::string& split, std::size_t index, std::span<const std::byte> bytes) {
    const SplitInfo* info = manifest_.find_split(split);
    if (info == nullptr || index >= info->chunks.size()) return keep(changed());
    const Digest& digest = info->chunks[index].digest;
    if (sha256(bytes) != digest) return keep(changed());
    if (!sink_.is_wanted(digest)) return {};
    const Status put = sink_.put(digest, bytes);
    return put ? Status() : keep(put.error());
  }

  Status keep(const Error& error) {
    failure_ = error;
    return error;
  }

  const DatasetManifest& manifest_;
  ChunkSink& sink_;
  std::optional<Error> failure_;
  Chunker chunker_;
};

class FolderSink : public ChunkSink {
 public:
  FolderSink(std::filesystem::path folder, const DatasetManifest& manifest)
      : folder_(std::move(folder)) {
    for (const auto& [name, split] : manifest.splits) {
      for (const ChunkInfo& chunk : split.chunks) sizes_[chunk.digest] = chunk.bytes;
    }
  }
  bool is_wanted(const Digest& digest) override {
    std::error_code error;
    return std::filesystem::file_size(folder_ / digest.hex(), error) != sizes_[digest] || error;
  }
  Status put(const Digest& digest, std::span<const std::byte> bytes) override {
    const std::string_view content(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return write_file_atomically(folder_ / digest.hex(), content);
  }

 private:
  std::filesystem::path folder_;
  std::map<Digest, std::uint64_t> sizes_;
};

}  // namespace

Result<SplitCut> parse_split_cut(std::string_view text) {
  const std::size_t equals = text.find('=');
  SplitCut cut;
  const std::string_view number = equals == std::string_view::npos ? "" : text.substr(equals + 1);
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), cut.fraction);
  if (error != std::errc() || end != number.data() + number.size()) {
    return bad("--split '" + plain_text(text, 64) + "': write it as val=0.1");
  }
  cut.split = text.substr(0, equals);
  if (cut.split != "val" && cut.split != "test") {
    return bad("--split '" + plain_text(text, 64) + "': allowed are val and test");
  }
  if (!(cut.fraction > 0 && cut.fraction < 1)) {
    return bad("--split '" + plain_text(text, 64) + "': the share must be above 0 and below 1");
  }
  return cut;
}

Result<std::vector<std::string>> parse_class_names(std::string_view text) {
  std::vector<std::string> names;
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view name = text.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (name.empty()) {
      return bad("class names: name " + std::to_string(names.size()) + " is empty; write cat,dog");
    }
    names.emplace_back(name);
    if (comma == text.size()) return names;
    text.remove_prefix(comma + 1);
  }
}

Result<ImportPlan> plan_import(const ImportOptions& options) {
  ImportPlan plan;
  plan.options = options;
  ManifestMaker maker(options);
  MH_TRY_VOID(walk_samples(options, maker));
  MH_TRY(plan.manifest, maker.finish());
  plan.manifest_json = to_json(plan.manifest);
  plan.manifest_digest = sha256(plan.manifest_json);
  // What we write we must be able to read: class names that are no UTF-8 end here.
  MH_TRY(const DatasetManifest read_back, parse_manifest(plan.manifest_json));
  if (read_back != plan.manifest) return bad("class names must be UTF-8");
  return plan;
}

Status emit_chunks(const ImportPlan& plan, ChunkSink& sink) {
  ChunkEmitter emitter(plan.manifest, sink);
  const Status walked = walk_samples(plan.options, emitter);
  if (emitter.failure()) return *emitter.failure();
  MH_TRY_VOID(walked);
  return emitter.finish();
}

Result<ImportPlan> import_to_directory(const ImportOptions& options,
                                       const std::filesystem::path& folder) {
  MH_TRY(ImportPlan plan, plan_import(options));
  std::error_code error;
  const auto present = read_file(folder / "manifest.json", kManifestBytesMax);
  if (present.has_value() && *present != plan.manifest_json)
    return fail(Errc::kInvalidArgument,
                folder.string() + " holds another data set: choose another folder, or remove it");
  std::filesystem::create_directories(folder, error);
  if (error) return errno_error("cannot make the folder", folder, error.value());
  FolderSink sink(folder, plan.manifest);
  MH_TRY_VOID(emit_chunks(plan, sink));
  MH_TRY_VOID(write_file_atomically(folder / "manifest.json", plan.manifest_json));
  return plan;
}

}  // namespace mh::cli
