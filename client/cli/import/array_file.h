// An array in a file, read sample by sample: IDX (as MNIST) or NumPy's .npy, each plain or gzip.
//
// Flow: byte_source -> array_file -> import. What cannot be taken (float64, Fortran order, pickled
// objects, …) is refused with the NumPy call that makes it fit. Numbers come out little-endian.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "client/cli/import/byte_source.h"
#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"

namespace mh::cli {

/// Longest .npy header taken; NumPy writes 128 bytes.
inline constexpr std::size_t kNpyHeaderBytesMax = 65'536;

/// What the head of a file says.
struct ArrayHeader {
  /// First dimension.
  std::uint64_t sample_count = 0;
  /// The other dimensions.
  SampleTensor sample;
  /// Numbers are stored with the most significant byte first.
  bool is_big_endian = false;
};

/// The dictionary of a .npy file: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }".
/// Read strictly, never evaluated. Errors: kInvalidArgument, without the file's name.
Result<ArrayHeader> parse_npy_header(std::string_view text);

class ArrayFile {
 public:
  /// Reads the head; for a plain file compares the size it promises with the file's.
  /// Errors: kNotFound, kInvalidArgument (format, type, size: names file, value and remedy).
  static Result<ArrayFile> open(const std::filesystem::path& path);

  const ArrayHeader& header() const { return header_; }
  const std::filesystem::path& path() const { return source_.path(); }

  /// Reads the next sample into `out`, which holds exactly header().sample.bytes().
  /// Requires: fewer than sample_count samples read so far. Errors: kInvalidArgument (cut short).
  Status read_sample(std::span<std::byte> out);
  /// After the last sample: nothing may follow. Errors: kInvalidArgument.
  Status expect_end();

 private:
  ArrayFile(ByteSource source, ArrayHeader header)
      : source_(std::move(source)), header_(std::move(header)) {}

  ByteSource source_;
  ArrayHeader header_;
  std::uint64_t next_sample_ = 0;
};

}  // namespace mh::cli
