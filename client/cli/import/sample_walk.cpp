// Reading the files of an import side by side; see sample_walk.h.
#include "client/cli/import/sample_walk.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "client/cli/import/array_file.h"

namespace mh::cli {
namespace {

/// Purpose of the key of the permutation; see derive_key().
constexpr std::uint64_t kSplitPurpose = 0x53504C49;  // "SPLI"

Error bad(const std::string& what) { return fail(Errc::kInvalidArgument, what); }

std::string shape_text(const SampleTensor& tensor) {
  std::string text(data_type_name(tensor.dtype));
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    text += (i == 0 ? " " : "×") + std::to_string(tensor.shape[i]);
  }
  return text;
}

bool is_known_split(std::string_view name) {
  return std::find(std::begin(kSplitNames), std::end(kSplitNames), name) != std::end(kSplitNames);
}

Status check_options(const ImportOptions& options) {
  if (!options.files.contains("train"))
    return bad("no train files are given; use --train-inputs and --train-targets");
  std::set<std::string, std::less<>> taken;
  for (const auto& [split, files] : options.files) {
    if (!is_known_split(split)) return bad("split '" + split + "': allowed are train, val, test");
    if (files.inputs.empty() || files.targets.empty()) {
      return bad("split " + split + ": inputs and targets are both needed; use --" + split +
                 "-inputs and --" + split + "-targets");
    }
    taken.insert(split);
  }
  for (const SplitCut& cut : options.cuts) {
    if (!is_known_split(cut.split) || cut.split == "train") {
      return bad("--split " + cut.split + ": allowed are val and test");
    }
    if (!taken.insert(cut.split).second) {
      return bad("--split " + cut.split + ": that split is given already");
    }
    if (!(cut.fraction > 0 && cut.fraction < 1)) {
      return bad("--split " + cut.split + ": the share must be above 0 and below 1");
    }
  }
  return {};
}

/// Class numbers written as a column, shape (n, 1), mean the same as (n).
SampleTensor target_of(const ArrayHeader& header) {
  SampleTensor target = header.sample;
  if (is_integer(target.dtype) && target.shape == std::vector<std::int64_t>{1})
    target.shape.clear();
  return target;
}

/// The two files of a split, opened and found to belong together.
struct OpenSplit {
  ArrayFile inputs;
  ArrayFile targets;
};

Result<OpenSplit> open_split(const SplitFiles& files) {
  MH_TRY(ArrayFile inputs, ArrayFile::open(files.inputs));
  MH_TRY(ArrayFile targets, ArrayFile::open(files.targets));
  if (inputs.header().sample_count != targets.header().sample_count) {
    return bad(files.inputs.string() + " holds " + std::to_string(inputs.header().sample_count) +
               " samples, " + files.targets.string() + " holds " +
               std::to_string(targets.header().sample_count) +
               " targets; every sample needs exactly one target");
  }
  const std::uint64_t bytes = inputs.header().sample.bytes() + targets.header().sample.bytes();
  if (bytes > kChunkBytesMax) {
    return bad(files.inputs.string() + ": one sample with its target has " + std::to_string(bytes) +
               " bytes, limit is " + std::to_string(kChunkBytesMax));
  }
  return OpenSplit{std::move(inputs), std::move(targets)};
}

Status check_same(const std::filesystem::path& path, const SampleTensor& found,
                  const SampleTensor& expected) {
  if (found == expected) return {};
  return bad(path.string() + ": its samples are " + shape_text(found) + ", those of train are " +
             shape_text(expected) + "; all splits must agree");
}

Error at_sample(const SplitFiles& files, std::uint64_t sample, const Error& error) {
  return fail(error.code, files.inputs.string() + ", " + files.targets.string() + ": sample " +
                              std::to_string(sample) + ": " + error.message);
}

Status walk_split(OpenSplit& open, const SplitFiles& files, const std::string& name,
                  const SplitChooser* chooser, SampleVisitor& visitor) {
  std::vector<std::byte> input(open.inputs.header().sample.bytes());
  std::vector<std::byte> target(open.targets.header().sample.bytes());
  for (std::uint64_t i = 0; i < open.inputs.header().sample_count; ++i) {
    MH_TRY_VOID(open.inputs.read_sample(input));
    MH_TRY_VOID(open.targets.read_sample(target));
    const std::string_view split = chooser != nullptr ? chooser->split_of(i) : name;
    const Status seen = visitor.sample(split, input, target);
    if (!seen) return at_sample(files, i, seen.error());
  }
  MH_TRY_VOID(open.inputs.expect_end());
  return open.targets.expect_end();
}

}  // namespace

SplitChooser::SplitChooser(std::uint64_t sample_count, std::uint64_t seed)
    : permutation_(sample_count, derive_key(seed, kSplitPurpose)) {}

Result<SplitChooser> SplitChooser::make(std::uint64_t sample_count,
                                        const std::vector<SplitCut>& cuts, std::uint64_t seed) {
  SplitChooser chooser(sample_count, seed);
  std::uint64_t end = 0;
  for (const SplitCut& cut : cuts) {
    const auto count = static_cast<std::uint64_t>(
        std::floor(cut.fraction * static_cast<double>(sample_count) + 0.5));
    if (count == 0 || count >= sample_count - end) {
      return bad("--split " + cut.split + ": that share of " + std::to_string(sample_count) +
                 " samples is " + std::to_string(count) +
                 "; each split must get at least one sample, "
                 "train too");
    }
    end += count;
    chooser.shares_.push_back({cut.split, end});
  }
  return chooser;
}

std::string_view SplitChooser::split_of(std::uint64_t sample) const {
  if (shares_.empty()) return "train";
  const std::uint64_t place = permutation_(sample);
  for (const Share& share : shares_) {
    if (place < share.end) return share.split;
  }
  return "train";
}

Status walk_samples(const ImportOptions& options, SampleVisitor& visitor) {
  MH_TRY_VOID(check_options(options));
  const SplitFiles& train_files = options.files.find("train")->second;
  MH_TRY(OpenSplit train, open_split(train_files));
  const SampleTensor input = train.inputs.header().sample;
  const SampleTensor target = target_of(train.targets.header());
  // All heads before any body: what does not fit is said at once.
  for (const auto& [name, files] : options.files) {
    if (name == "train") continue;
    MH_TRY(const OpenSplit open, open_split(files));
    MH_TRY_VOID(check_same(files.inputs, open.inputs.header().sample, input));
    MH_TRY_VOID(check_same(files.targets, target_of(open.targets.header()), target));
  }
  MH_TRY(const SplitChooser chooser,
         SplitChooser::make(train.inputs.header().sample_count, options.cuts, options.seed));
  MH_TRY_VOID(visitor.begin(input, target));
  MH_TRY_VOID(walk_split(train, train_files, "train", &chooser, visitor));
  for (const auto& [name, files] : options.files) {
    if (name == "train") continue;
    MH_TRY(OpenSplit open, open_split(files));
    MH_TRY_VOID(check_same(files.inputs, open.inputs.header().sample, input));
    MH_TRY_VOID(check_same(files.targets, target_of(open.targets.header()), target));
    MH_TRY_VOID(walk_split(open, files, name, nullptr, visitor));
  }
  return {};
}

}  // namespace mh::cli
