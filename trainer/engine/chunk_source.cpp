// Samples from chunks; see chunk_source.h.
#include "trainer/engine/chunk_source.h"

#include <string>
#include <utility>

namespace mh::engine {
namespace {

/// The reader takes a wrong length for a broken invariant; here it comes from two files that do not
/// fit together.
Status check_length(const char* what, std::size_t wanted, std::uint64_t present) {
  if (wanted == present) return {};
  return fail(Errc::kInvalidArgument, std::string(what) + " of a sample holds " +
                                          std::to_string(present) + " numbers, the model takes " +
                                          std::to_string(wanted));
}

}  // namespace

Result<ChunkSource> ChunkSource::open(const DatasetManifest& manifest, std::string_view split,
                                      std::filesystem::path chunk_dir, bool normalize,
                                      update::ChunkCheck check) {
  MH_TRY(update::SplitReader reader,
         update::SplitReader::open(manifest, split, std::move(chunk_dir), check));
  return ChunkSource(std::move(reader), normalize);
}

Result<void> ChunkSource::read_input(std::uint64_t index, std::span<float> out) const {
  MH_TRY_VOID(check_length("the input", out.size(), reader_.input_elements()));
  return reader_.gather_inputs(std::span(&index, 1), normalize_, out);
}

Result<void> ChunkSource::read_input(std::uint64_t index, std::span<std::int64_t> out,
                                     std::int64_t limit) const {
  MH_TRY_VOID(check_length("the input", out.size(), reader_.input_elements()));
  return reader_.gather_input_indices(std::span(&index, 1), limit, out);
}

Result<void> ChunkSource::read_target(std::uint64_t index, std::span<std::int64_t> out,
                                      std::int64_t class_count) const {
  MH_TRY_VOID(check_length("the target", out.size(), reader_.target_elements()));
  return reader_.gather_classes(std::span(&index, 1), class_count, out);
}

Result<void> ChunkSource::read_target(std::uint64_t index, std::span<float> out) const {
  MH_TRY_VOID(check_length("the target", out.size(), reader_.target_elements()));
  return reader_.gather_targets(std::span(&index, 1), out);
}

}  // namespace mh::engine
