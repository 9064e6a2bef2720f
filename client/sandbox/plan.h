// What manyhands-sandbox is to do: which layers, around which program, with which doors. A value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "client/sandbox/layers.h"

namespace mh::sandbox {

struct Limits {
  /// Private memory (RLIMIT_DATA).
  std::uint64_t memory_bytes = 0;
  /// Beside the memory: files that are mapped, libraries (RLIMIT_AS is the sum of both; not with a
  /// GPU, whose driver reserves hundreds of gigabytes of addresses).
  std::uint64_t mapped_bytes = 0;
  /// The largest file that may be written.
  std::uint64_t file_bytes = 0;
  /// Threads that compute; a few more are allowed.
  std::uint32_t threads = 1;
};

struct Plan {
  LayerSet layers;
  std::filesystem::path program;
  std::vector<std::string> arguments;
  /// A folder that may be read; empty: none.
  std::filesystem::path input;
  /// A folder in which existing files may be written, and none made; empty: none.
  std::filesystem::path output;
  Limits limits;
  /// The NVIDIA driver's device nodes, libraries and /proc are let in.
  bool has_gpu = false;
};

}  // namespace mh::sandbox
