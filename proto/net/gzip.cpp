// See gzip.h.
#include "proto/net/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "proto/base/check.h"

namespace mh::net {
namespace {

constexpr int kGzipWindow = 15 + 16;
constexpr std::size_t kPieceBytes = 32 * 1024;

Bytef* bytes_of(std::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
}

}  // namespace

std::string gzip_compress(std::string_view plain) {
  z_stream stream{};
  MH_CHECK(deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&stream, static_cast<uLong>(plain.size())), '\0');
  stream.next_in = bytes_of(plain);
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = bytes_of(packed);
  stream.avail_out = static_cast<uInt>(packed.size());
  const int result = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  MH_CHECK(result == Z_STREAM_END);
  return packed;
}

Result<std::string> gzip_inflate(std::string_view packed, std::uint64_t bytes_max) {
  z_stream stream{};
  MH_CHECK(inflateInit2(&stream, kGzipWindow) == Z_OK);
  stream.next_in = bytes_of(packed);
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string plain;
  std::array<char, kPieceBytes> piece;
  int result = Z_OK;
  while (result == Z_OK && plain.size() <= bytes_max) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    result = inflate(&stream, Z_NO_FLUSH);
    plain.append(piece.data(), piece.size() - stream.avail_out);
  }
  const bool is_whole = result == Z_STREAM_END && stream.avail_in == 0;
  inflateEnd(&stream);
  if (plain.size() > bytes_max)
    return fail(Errc::kResourceExhausted,
                "the message is larger than " + std::to_string(bytes_max) + " bytes uncompressed");
  if (!is_whole) return fail(Errc::kInvalidArgument, "the body is not one whole gzip stream");
  return plain;
}

}  // namespace mh::net
