// The shell of the volunteer's client: carries out what the host core decides. One thread, one
// io_context; connections to the server, the cache, the trainer process, the control socket and
// the signals are its business, decisions are not.
//
//   events (replies, trainer, verbs, timer) ─▶ HostCore ─▶ actions ─▶ perform()
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "client/daemon/client_state.h"
#include "client/sandbox/layers.h"
#include "proto/base/result.h"

namespace mh::client {

struct DaemonOptions {
  ClientFolder folder;
  /// "auto", "cpu" or "cuda:N".
  std::string device = "auto";
  /// Of the trainer; 0: one a processor.
  std::uint32_t threads = 0;
  std::uint64_t cache_bytes_max = 10'000'000'000;
  std::filesystem::path trainer;
  /// Niceness of the trainer, 0 to 19.
  int nice_increment = 19;
  /// Run the trainer only when nothing else wants the CPU.
  bool is_idle_class = false;
  /// Which layers of the sandbox must be there; all that there are, are used.
  sandbox::Policy sandbox;
  /// Most memory of the trainer; 0: three quarters of this computer's. Kept by the sandbox.
  std::uint64_t memory_bytes_max = 0;
  /// Finished results kept while the server cannot be reached: how many, how many bytes of updates,
  /// and for how long.
  std::uint32_t undelivered_count_max = 64;
  std::uint64_t undelivered_bytes_max = 4'000'000'000;
  std::chrono::milliseconds undelivered_age_max = std::chrono::hours(7 * 24);
};

/// Runs until the volunteer stops it (SIGTERM, SIGINT, `finish`, `detach`). Requires: the folder's
/// lock is held. Errors: kFailedPrecondition (the sandbox that is required cannot be had),
/// kInternal and others that keep it from starting.
Status run_daemon(const DaemonOptions& options, const ClientState& state);

}  // namespace mh::client
