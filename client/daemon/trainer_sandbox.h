// The sandbox as the daemon sees it: what this machine grants, what the volunteer requires, and the
// command that starts a trainer in it (client/sandbox/ builds it, in a process of its own).
// Threads: one.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "client/daemon/trainer_process.h"
#include "client/sandbox/layers.h"

namespace mh::client {

struct DaemonOptions;

/// What the trainer may have of this computer.
struct TrainerRoom {
  /// Read only.
  std::filesystem::path input;
  /// Files in it may be written.
  std::filesystem::path output;
  std::uint64_t memory_bytes = 0;
  std::uint64_t mapped_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::uint32_t threads = 1;
  bool wants_gpu = false;
};

class TrainerSandbox {
 public:
  /// Tries each layer (a fifth of a second, blocking). Errors: kFailedPrecondition (a layer that
  /// the volunteer requires is missing: says which and why), kNotFound (no manyhands-sandbox beside
  /// this program and no MANYHANDS_SANDBOX), kInternal.
  static Result<TrainerSandbox> open(const sandbox::Policy& policy);

  /// `trainer` inside the sandbox; as it is where there is none.
  TrainerCommand enclose(const TrainerCommand& trainer, const TrainerRoom& room) const;
  /// One line: "all layers", "without mount (WHY)", "off".
  std::string sentence() const;
  bool is_whole() const { return policy_.is_on && available_.missing.empty(); }
  /// {"on", "layers", "missing": [{"layer", "why"}], "notes", "sentence"}
  nlohmann::ordered_json json() const;

 private:
  sandbox::Policy policy_;
  sandbox::Available available_;
  std::filesystem::path launcher_;
};

/// The command of the trainer that the options ask for, in the sandbox.
TrainerCommand trainer_command(const DaemonOptions& options, const TrainerSandbox& sandbox);

}  // namespace mh::client
