// What the daemon and the trainer process say to each other: frames of a little-endian u32 length
// and JSON (docs/file-formats.md). Pure. The trainer runs big libraries on bytes from elsewhere, so
// what it says is checked like anybody's: length before allocation, types and ranges before use.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "client/daemon/host_types.h"

namespace mh::client {

inline constexpr std::size_t kFrameBytesMax = 1024 * 1024;

/// Where the trainer finds inputs and leaves updates.
struct TrainerFolders {
  std::filesystem::path cache;
  std::filesystem::path out;

  std::filesystem::path blob(const Digest& digest) const { return cache / digest.hex(); }
  std::filesystem::path update(ResultId result) const {
    return out / (to_string(result) + ".update");
  }
};

std::string compute_frame(const Assignment& assignment, const TrainerFolders& folders);
std::string cancel_frame(ResultId result);
std::string exit_frame();

struct TrainerProgress {
  ResultId result;
  std::uint64_t samples_done = 0;
};
struct TrainerFailure {
  ResultId result;
  std::string error;
};
using TrainerMessage = std::variant<TrainerReady, TrainerProgress, TrainerDone, TrainerFailure>;

/// Errors: kInvalidArgument, naming what is wrong.
Result<TrainerMessage> parse_trainer_message(std::string_view json);

/// Cuts a stream into frames.
class FrameCutter {
 public:
  void add(std::string_view bytes) { buffer_.append(bytes); }
  /// The JSON of the next whole frame; nothing: more bytes are needed.
  /// Errors: kInvalidArgument (a length beyond kFrameBytesMax); the stream is of no more use.
  Result<std::optional<std::string>> next();

 private:
  std::string buffer_;
};

}  // namespace mh::client
