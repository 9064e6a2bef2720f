// Heads of IDX and .npy files, and the samples behind them; see array_file.h.
#include "client/cli/import/array_file.h"

#include <algorithm>
#include <array>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh::cli {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

Error bad(const std::filesystem::path& path, const std::string& what) {
  return fail(Errc::kInvalidArgument, path.string() + ": " + what);
}

/// Reads exactly `out`, or says that the head is cut short.
Status read_head(ByteSource& source, std::span<std::byte> out) {
  MH_TRY(const std::size_t count, source.read(out));
  if (count < out.size())
    return bad(source.path(), "it ends within its header; it is no data file");
  return {};
}

std::uint32_t load_be32(const std::byte* data) {
  return __builtin_bswap32(load_le<std::uint32_t>(data));
}

/// The types of IDX by their code; see yann.lecun.com/exdb/mnist.
Result<DataType> idx_type(std::uint8_t code, const std::filesystem::path& path) {
  switch (code) {
    case 0x08:
      return DataType::kU8;
    case 0x0C:
      return DataType::kI32;
    case 0x0D:
      return DataType::kF32;
    default:
      return bad(path, "its IDX type is " + std::to_string(code) +
                           ", allowed are 8 (bytes), 12 (32-bit integers) and 13 (32-bit floats); "
                           "save the array as .npy of a type that fits");
  }
}

/// `magic` holds the first four bytes.
Result<ArrayHeader> read_idx_head(ByteSource& source, std::span<const std::byte> magic) {
  ArrayHeader header;
  MH_TRY(header.sample.dtype, idx_type(std::to_integer<std::uint8_t>(magic[2]), source.path()));
  header.is_big_endian = header.sample.dtype != DataType::kU8;
  const auto rank = std::to_integer<std::size_t>(magic[3]);
  if (rank < 1 || rank > kSampleRankMax + 1) {
    return bad(source.path(), "its IDX header has " + std::to_string(rank) +
                                  " dimensions, allowed are 1 to " +
                                  std::to_string(kSampleRankMax + 1));
  }
  std::array<std::byte, 4 * (kSampleRankMax + 1)> sizes;
  MH_TRY_VOID(read_head(source, std::span(sizes).first(4 * rank)));
  header.sample_count = load_be32(sizes.data());
  for (std::size_t i = 1; i < rank; ++i) {
    header.sample.shape.push_back(load_be32(sizes.data() + 4 * i));
  }
  return header;
}

/// Everything behind the first four bytes.
Result<ArrayHeader> read_npy_head(ByteSource& source) {
  std::array<std::byte, 4> rest;
  MH_TRY_VOID(read_head(source, rest));
  const auto major = std::to_integer<unsigned>(rest[2]);
  if (as_text(std::span(rest).first(2)) != "PY" || major < 1 || major > 3) {
    return bad(source.path(),
               "its .npy version is " + std::to_string(major) + ", allowed are 1 to 3");
  }
  std::array<std::byte, 4> length_bytes{};
  MH_TRY_VOID(read_head(source, std::span(length_bytes).first(major == 1 ? 2 : 4)));
  const auto length = load_le<std::uint32_t>(length_bytes.data());
  if (length > kNpyHeaderBytesMax) {
    return bad(source.path(), "its .npy header has " + std::to_string(length) +
                                  " bytes, limit is " + std::to_string(kNpyHeaderBytesMax));
  }
  std::vector<std::byte> text(length);
  MH_TRY_VOID(read_head(source, text));
  Result<ArrayHeader> header = parse_npy_header(as_text(text));
  if (!header) return bad(source.path(), header.error().message);
  return header;
}

Status check_header(const ArrayHeader& header, const std::filesystem::path& path) {
  if (header.sample_count == 0) return bad(path, "it holds no samples");
  if (header.sample_count > kDatasetSamplesMax) {
    return bad(path, "its header announces " + std::to_string(header.sample_count) +
                         " samples, limit is " + std::to_string(kDatasetSamplesMax));
  }
  std::uint64_t bytes = data_type_bytes(header.sample.dtype);
  for (const std::int64_t size : header.sample.shape) {
    if (size < 1) return bad(path, "one of its dimensions is 0");
    if (static_cast<std::uint64_t>(size) > kChunkBytesMax / bytes) {
      return bad(path, "one sample has more than " + std::to_string(kChunkBytesMax) +
                           " bytes, which is the limit");
    }
    bytes *= static_cast<std::uint64_t>(size);
  }
  return {};
}

/// Right after the head has been read.
Status check_size(const ByteSource& source, const ArrayHeader& header) {
  if (!source.plain_size()) return {};
  // The product may be more than 64 bits hold: 10^12 samples of 64 MiB.
  const std::uint64_t left = *source.plain_size() - source.position();
  const std::uint64_t sample_bytes = header.sample.bytes();
  if (left % sample_bytes == 0 && left / sample_bytes == header.sample_count) return {};
  return bad(source.path(), "its header announces " + std::to_string(header.sample_count) +
                                " samples of " + std::to_string(sample_bytes) + " bytes, but " +
                                std::to_string(left) +
                                " bytes follow; copy or write the file again");
}

template <class T>
void swap_numbers(std::span<std::byte> bytes) {
  for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                 bytes.begin() + static_cast<std::ptrdiff_t>(i + sizeof(T)));
  }
}

}  // namespace

Result<ArrayFile> ArrayFile::open(const std::filesystem::path& path) {
  MH_TRY(ByteSource source, ByteSource::open(path));
  std::array<std::byte, 4> magic;
  MH_TRY_VOID(read_head(source, magic));
  ArrayHeader header;
  if (as_text(magic) == kNpyMagic.substr(0, 4)) {
    MH_TRY(header, read_npy_head(source));
  } else if (magic[0] == std::byte{0} && magic[1] == std::byte{0}) {
    MH_TRY(header, read_idx_head(source, magic));
  } else {
    return bad(path, "it is neither IDX nor NumPy .npy (plain or gzip): it begins with " +
                         std::to_string(std::to_integer<int>(magic[0])) + ", " +
                         std::to_string(std::to_integer<int>(magic[1])));
  }
  MH_TRY_VOID(check_header(header, path));
  MH_TRY_VOID(check_size(source, header));
  return ArrayFile(std::move(source), std::move(header));
}

Status ArrayFile::read_sample(std::span<std::byte> out) {
  MH_CHECK(next_sample_ < header_.sample_count && out.size() == header_.sample.bytes());
  MH_TRY(const std::size_t count, source_.read(out));
  if (count < out.size()) {
    return bad(path(), "it is cut short: it ends within sample " + std::to_string(next_sample_) +
                           " of the " + std::to_string(header_.sample_count) +
                           " that its header announces; copy or write the file again");
  }
  if (header_.is_big_endian) {
    if (header_.sample.dtype == DataType::kI64) {
      swap_numbers<std::uint64_t>(out);
    } else {
      swap_numbers<std::uint32_t>(out);
    }
  }
  ++next_sample_;
  return {};
}

Status ArrayFile::expect_end() {
  std::byte extra[1];
  MH_TRY(const std::size_t count, source_.read(extra));
  if (count == 0) return {};
  return bad(path(), "bytes follow the " + std::to_string(header_.sample_count) +
                         " samples that its header announces; copy or write the file again");
}

}  // namespace mh::cli
