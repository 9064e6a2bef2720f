// Messages between daemon and trainer as values, and their JSON. docs/file-formats.md has the same
// table for people. Pure; no threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "trainer/engine/device.h"
#include "trainer/engine/engine.h"

namespace mh::engine {

/// "compute": one workunit and the files that it needs, all complete on disk.
struct ComputeRequest {
  std::uint64_t result_id = 0;
  /// Gradient of positions [begin, end) of the sample stream; else evaluation of samples [begin,
  /// end) of `split`.
  bool is_gradient = true;
  std::string job_path;
  Digest job_digest;
  std::string parameters_path;
  Digest parameters_digest;
  std::string manifest_path;
  Digest manifest_digest;
  /// Folder of chunk files, each named by its digest in hex.
  std::string chunk_dir;
  /// The step whose parameters these are; written into the update.
  std::uint64_t step = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string split;
  /// Where to write the update; created or overwritten. Gradient only.
  std::string update_path;
};

/// "cancel": the result is not wanted any more.
struct CancelRequest {
  std::uint64_t result_id = 0;
};

/// "exit": finish now.
struct ExitRequest {};

/// A "compute" that names its result but is otherwise wrong; it is answered by "failed".
struct BadRequest {
  std::uint64_t result_id = 0;
  std::string error;
};

using Request = std::variant<ComputeRequest, CancelRequest, ExitRequest, BadRequest>;

/// Parses the body of a frame. Errors: kInvalidArgument for what is not JSON, has an unknown type
/// or no result id.
Result<Request> parse_request(std::string_view body);

/// What a finished workunit reports.
struct Computed {
  Sums sums;
  std::uint64_t compute_ms = 0;
  /// Size and SHA-256 of the update file; 0 and unused for an evaluation.
  std::uint64_t update_bytes = 0;
  Digest update_digest;
};

std::string ready_message(const Device& device);
std::string progress_message(std::uint64_t result_id, std::uint64_t samples_done,
                             std::uint64_t samples);
std::string done_message(std::uint64_t result_id, const Computed& computed);
std::string failed_message(std::uint64_t result_id, std::string_view error);

}  // namespace mh::engine
