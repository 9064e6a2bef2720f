// `manyhands dataset import`: files of arrays become a manifest and content-addressed chunks.
//
// Flow: ImportOptions -> plan_import() reads everything once, checks it and makes the manifest ->
// emit_chunks() reads it again and hands each chunk to a sink (upload, or a folder). Twice, so that
// nothing is sent of files that turn out bad; memory stays bounded by one chunk a split.
// The same files and options give the same manifest on every machine. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"

namespace mh::cli {

/// A chunk holds this many samples or bytes, whichever comes first (at least one sample).
inline constexpr std::uint64_t kImportChunkSamples = 4'096;
inline constexpr std::uint64_t kImportChunkBytes = 4U << 20;

/// The two files of one split; sample i of one belongs to sample i of the other.
struct SplitFiles {
  std::filesystem::path inputs;
  std::filesystem::path targets;
};

/// A share of the train files that becomes another split.
struct SplitCut {
  /// "val" or "test".
  std::string split;
  /// Above 0, below 1.
  double fraction = 0;
};

struct ImportOptions {
  /// By split; "train" is needed.
  std::map<std::string, SplitFiles, std::less<>> files;
  /// Samples are chosen by a permutation seeded with `seed` and keep the order of the file.
  std::vector<SplitCut> cuts;
  std::uint64_t seed = 0;
  /// Names of classes 0, 1, …; when empty, there are as many classes as the largest target says.
  std::vector<std::string> class_names;
  /// Whole-number targets are numbers to be predicted, not classes. Float targets always are.
  bool targets_are_numbers = false;
};

/// Reads "val=0.1". Errors: kInvalidArgument.
Result<SplitCut> parse_split_cut(std::string_view text);
/// Reads "cat,dog"; spaces around a name are dropped. Errors: kInvalidArgument (an empty name).
Result<std::vector<std::string>> parse_class_names(std::string_view text);

struct ImportPlan {
  ImportOptions options;
  DatasetManifest manifest;
  /// The manifest as it is stored, and its name.
  std::string manifest_json;
  Digest manifest_digest;
};

/// Reads and checks all files. Errors: kInvalidArgument or kNotFound, naming file, sample, value,
/// limit and what to do.
Result<ImportPlan> plan_import(const ImportOptions& options);

/// Where chunks go.
class ChunkSink {
 public:
  virtual ~ChunkSink() = default;
  /// False to skip a chunk that is there already.
  virtual bool is_wanted(const Digest&) { return true; }
  /// Called in the order train, val, test of each file; a digest may come twice. An error ends the
  /// import and is returned.
  virtual Status put(const Digest& digest, std::span<const std::byte> bytes) = 0;
};

/// Reads the files again and gives every chunk to `sink`. Errors: the sink's; kAborted when a file
/// has changed since plan_import().
Status emit_chunks(const ImportPlan& plan, ChunkSink& sink);

/// plan_import(), then the chunks (named by digest) and last manifest.json into `folder`, which is
/// made if it is not there: what `manyhands-trainer reference --data` reads. Chunks that are there
/// with the right size are kept. Errors: as plan_import() and emit_chunks(); kResourceExhausted.
Result<ImportPlan> import_to_directory(const ImportOptions& options,
                                       const std::filesystem::path& folder);

}  // namespace mh::cli
