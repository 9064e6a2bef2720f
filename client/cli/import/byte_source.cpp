// Reading of plain and gzip files; see byte_source.h.
#include "client/cli/import/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "proto/base/file.h"

namespace mh::cli {
namespace {

constexpr std::size_t kBufferBytes = 256U << 10;
/// Window of 32 KiB, gzip framing only.
constexpr int kGzipWindowBits = 15 + 16;

Error bad_gzip(const std::filesystem::path& path, const std::string& what) {
  return fail(Errc::kInvalidArgument,
              path.string() + ": " + what + "; copy or download the file again");
}

}  // namespace

struct ByteSource::Impl {
  ~Impl() {
    if (is_gzip) inflateEnd(&stream);
  }

  std::filesystem::path path;
  UniqueFd fd;
  std::optional<std::uint64_t> plain_size;
  std::vector<std::byte> buffer = std::vector<std::byte>(kBufferBytes);
  /// Bytes of the file that are read but not yet given out or inflated.
  std::span<const std::byte> rest;
  bool at_end = false;
  bool is_gzip = false;
  /// Between two gzip members, or before the first.
  bool between_members = false;
  std::uint64_t read_bytes = 0;
  std::uint64_t position = 0;
  z_stream stream{};

  Status fill() {
    if (!rest.empty() || at_end) return {};
    ssize_t count = 0;
    do {
      count = ::read(fd.get(), buffer.data(), buffer.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) return errno_error("cannot read", path, errno);
    at_end = count == 0;
    rest = std::span<const std::byte>(buffer).first(static_cast<std::size_t>(count));
    read_bytes += static_cast<std::uint64_t>(count);
    return {};
  }

  Result<std::size_t> read_plain(std::span<std::byte> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      MH_TRY_VOID(fill());
      if (rest.empty()) break;
      const std::size_t count = std::min(rest.size(), out.size() - done);
      std::memcpy(out.data() + done, rest.data(), count);
      rest = rest.subspan(count);
      done += count;
    }
    return done;
  }

  /// Inflates some bytes into `out`; 0 at the end of the file.
  Result<std::size_t> inflate_some(std::span<std::byte> out) {
    while (true) {
      MH_TRY_VOID(fill());
      if (between_members) {
        if (rest.empty()) return std::size_t{0};
        inflateReset(&stream);
        between_members = false;
      }
      if (rest.empty()) {
        return bad_gzip(
            path, "the gzip data is cut short after " + std::to_string(read_bytes) + " bytes");
      }
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest.data()));
      stream.avail_in = static_cast<uInt>(rest.size());
      stream.next_out = reinterpret_cast<Bytef*>(out.data());
      stream.avail_out = static_cast<uInt>(out.size());
      const int code = inflate(&stream, Z_NO_FLUSH);
      rest = rest.last(stream.avail_in);
      if (code == Z_MEM_ERROR)
        return fail(Errc::kResourceExhausted, path.string() + ": out of memory");
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
        const std::string reason = stream.msg != nullptr ? stream.msg : "bad data";
        return bad_gzip(path, "the gzip data is damaged near byte " +
                                  std::to_string(read_bytes - rest.size()) + " (" + reason + ")");
      }
      between_members = code == Z_STREAM_END;
      const std::size_t count = out.size() - stream.avail_out;
      if (count > 0) return count;
    }
  }

  Result<std::size_t> read_gzip(std::span<std::byte> out) {
    constexpr std::size_t kPieceBytes = 1U << 30;  // zlib counts in 32 bits.
    std::size_t done = 0;
    while (done < out.size()) {
      const std::size_t piece = std::min(kPieceBytes, out.size() - done);
      MH_TRY(const std::size_t count, inflate_some(out.subspan(done, piece)));
      if (count == 0) break;
      done += count;
    }
    return done;
  }
};

ByteSource::ByteSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ByteSource::ByteSource(ByteSource&&) noexcept = default;
ByteSource& ByteSource::operator=(ByteSource&&) noexcept = default;
ByteSource::~ByteSource() = default;

Result<ByteSource> ByteSource::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!impl->fd.is_open()) return errno_error("cannot open", path, errno);
  struct stat status {};
  if (::fstat(impl->fd.get(), &status) != 0) return errno_error("cannot look at", path, errno);
  if (S_ISDIR(status.st_mode)) {
    return fail(Errc::kInvalidArgument, path.string() + ": is a folder, a file is needed");
  }
  MH_TRY_VOID(impl->fill());
  const std::span<const std::byte> head = impl->rest;
  if (head.size() >= 2 && head[0] == std::byte{0x1f} && head[1] == std::byte{0x8b}) {
    if (inflateInit2(&impl->stream, kGzipWindowBits) != Z_OK) {
      return fail(Errc::kResourceExhausted, path.string() + ": out of memory");
    }
    impl->is_gzip = true;
  } else if (S_ISREG(status.st_mode)) {
    impl->plain_size = static_cast<std::uint64_t>(status.st_size);
  }
  return ByteSource(std::move(impl));
}

Result<std::size_t> ByteSource::read(std::span<std::byte> out) {
  MH_TRY(const std::size_t count, impl_->is_gzip ? impl_->read_gzip(out) : impl_->read_plain(out));
  impl_->position += count;
  return count;
}

std::uint64_t ByteSource::position() const { return impl_->position; }

std::optional<std::uint64_t> ByteSource::plain_size() const { return impl_->plain_size; }
const std::filesystem::path& ByteSource::path() const { return impl_->path; }

}  // namespace mh::cli
