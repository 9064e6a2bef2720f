// Frames on file descriptors; see frames.h.
#include "trainer/engine/frames.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace mh::engine {
namespace {

/// Reads until `size` bytes or end of file; the number read, or -1 with errno.
ssize_t read_fully(int descriptor, char* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = ::read(descriptor, data + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -1;
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

Result<std::optional<std::string>> FrameReader::next() {
  std::array<unsigned char, 4> header{};
  const ssize_t got = read_fully(descriptor_, reinterpret_cast<char*>(header.data()), 4);
  if (got < 0) {
    return fail(Errc::kInternal, std::string("reading a frame: ") + std::strerror(errno));
  }
  if (got == 0) return std::optional<std::string>();
  if (got < 4) return fail(Errc::kInvalidArgument, "the input ended inside a frame's length");
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < 4; ++i) size |= static_cast<std::uint32_t>(header[i]) << (8 * i);
  if (size > kFrameBytesMax) {
    return fail(Errc::kInvalidArgument, "a frame of " + std::to_string(size) +
                                            " bytes is announced, the limit is " +
                                            std::to_string(kFrameBytesMax));
  }
  std::string body(size, '\0');
  const ssize_t body_got = read_fully(descriptor_, body.data(), size);
  if (body_got < 0) {
    return fail(Errc::kInternal, std::string("reading a frame: ") + std::strerror(errno));
  }
  if (static_cast<std::uint32_t>(body_got) < size) {
    return fail(Errc::kInvalidArgument,
                "the input ended inside a frame: " + std::to_string(body_got) + " of " +
                    std::to_string(size) + " bytes");
  }
  return std::optional<std::string>(std::move(body));
}

Result<void> FrameWriter::write(std::string_view body) {
  if (body.size() > kFrameBytesMax) {
    return fail(Errc::kInvalidArgument, "a frame of " + std::to_string(body.size()) +
                                            " bytes is over the limit of " +
                                            std::to_string(kFrameBytesMax));
  }
  std::string frame;
  frame.reserve(4 + body.size());
  for (std::size_t i = 0; i < 4; ++i) {
    frame.push_back(static_cast<char>((body.size() >> (8 * i)) & 0xFF));
  }
  frame.append(body);
  const std::lock_guard lock(mutex_);
  std::size_t done = 0;
  while (done < frame.size()) {
    const ssize_t count = ::write(descriptor_, frame.data() + done, frame.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return fail(Errc::kInternal, std::string("writing a frame: ") + std::strerror(errno));
    }
    done += static_cast<std::size_t>(count);
  }
  return {};
}

}  // namespace mh::engine
