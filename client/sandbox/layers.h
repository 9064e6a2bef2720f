// The layers of the sandbox by name, and which of them a volunteer wants. Pure; used by the daemon
// (policy, status) and by manyhands-sandbox (which applies them).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"

namespace mh::sandbox {

/// In the order in which status and tables name them. docs/sandbox.md says what each does.
enum class Layer : unsigned {
  kPrivileges,   // no capabilities, and none to be had by running a program
  kUser,         // a user namespace: no identity or privilege outside
  kMount,        // a private root with the trainer, its libraries, its input and one output
  kPid,          // sees and reaches no other process
  kIpc,          // no shared memory, semaphores, message queues of others
  kUts,          // not the host's name
  kNet,          // no network interface, no abstract sockets
  kLandlock,     // files by rule, also where there is no private root; no TCP; signals stay inside
  kSeccomp,      // system calls by list
  kLimits,       // memory, files, processes, CPU time, size of files
  kEnvironment,  // only the variables that the trainer needs
};

inline constexpr std::array kAllLayers = {Layer::kPrivileges, Layer::kUser,       Layer::kMount,
                                          Layer::kPid,        Layer::kIpc,        Layer::kUts,
                                          Layer::kNet,        Layer::kLandlock,   Layer::kSeccomp,
                                          Layer::kLimits,     Layer::kEnvironment};

std::string_view layer_name(Layer layer);

/// A set of layers; a value.
class LayerSet {
 public:
  static LayerSet all();
  bool has(Layer layer) const { return (bits_ & bit(layer)) != 0; }
  void add(Layer layer) { bits_ |= bit(layer); }
  void remove(Layer layer) { bits_ &= ~bit(layer); }
  bool is_empty() const { return bits_ == 0; }
  /// Those that are not in `other`.
  LayerSet without(LayerSet other) const;
  /// "user,mount"; "none" for no layer.
  std::string text() const;
  std::vector<std::string> names() const;
  bool operator==(const LayerSet&) const = default;

 private:
  static unsigned bit(Layer layer) { return 1U << static_cast<unsigned>(layer); }
  unsigned bits_ = 0;
};

/// Reads "user,mount", "namespaces,landlock" (the six namespaces in one word), "all" or "none".
/// Errors: kInvalidArgument, with the names that there are.
Result<LayerSet> parse_layers(std::string_view text);

/// What `--sandbox` says: whether to use layers at all, and those without which nothing runs.
struct Policy {
  bool is_on = true;
  LayerSet required;
};
/// "auto" (whatever there is), "require" (all), "off", or a list of required layers.
Result<Policy> parse_policy(std::string_view text);

/// What this machine grants: each layer that is missing, with the reason.
struct Available {
  LayerSet layers;
  struct Missing {
    Layer layer;
    std::string why;
  };
  std::vector<Missing> missing;
  /// More about layers that are there, as "landlock: version 7".
  std::vector<std::string> notes;
};

/// The lines that `manyhands-sandbox probe` prints: "mount yes", "net no: WHY", "note TEXT".
std::string available_text(const Available& available);
/// Errors: kInvalidArgument (not such lines, or a layer without a line).
Result<Available> parse_available(std::string_view text);

}  // namespace mh::sandbox
