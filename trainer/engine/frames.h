// Frames between the daemon and the trainer: u32 little-endian length, then that many bytes of
// JSON.
//
// The peer is a pipe of another process and is not trusted: a length above the cap is an error
// before anything is allocated, and what does not parse is an error with a reason.
// docs/file-formats.md describes the messages. Threads: FrameReader is used by one thread;
// FrameWriter locks, any thread may write.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace mh::engine {

/// The longest frame body accepted and sent.
inline constexpr std::uint32_t kFrameBytesMax = 1U << 20;

/// Reads frames from a file descriptor.
class FrameReader {
 public:
  /// Does not own `descriptor`.
  explicit FrameReader(int descriptor) : descriptor_(descriptor) {}

  /// The next frame's body; nothing at a clean end of file (between frames).
  /// Errors: a length over kFrameBytesMax, an end of file inside a frame, a read error.
  Result<std::optional<std::string>> next();

 private:
  int descriptor_;
};

/// Writes frames to a file descriptor, whole frames only.
class FrameWriter {
 public:
  /// Does not own `descriptor`.
  explicit FrameWriter(int descriptor) : descriptor_(descriptor) {}

  /// Errors: body over kFrameBytesMax, the reader is gone.
  Result<void> write(std::string_view body);

 private:
  int descriptor_;
  std::mutex mutex_;
};

}  // namespace mh::engine
