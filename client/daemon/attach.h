// Joining a server and leaving it. Threads: any; calls block on the network.
#pragma once

#include <functional>
#include <string>

#include "client/daemon/client_state.h"
#include "proto/net/url.h"

namespace mh::client {

struct AttachOptions {
  ClientFolder folder;
  /// "https://host:port/#INVITATION@FINGERPRINT" (proto/net/server_link.h).
  std::string url;
  /// PEM file of the authorities to trust instead of the system's; empty: the system's.
  std::filesystem::path authority_file;
  /// Plain HTTP beyond this machine, too.
  bool is_insecure_http = false;
  /// Empty: the machine's name.
  std::string name;
  /// What `run` may take of this computer unless it is told otherwise, for the plan.
  std::string cache_bytes;
  std::string keep_bytes;
  int nice_increment = 19;
  /// Gets what will be done, in words; false: the volunteer does not want it.
  std::function<bool(const std::string& plan)> confirm;
};

struct AttachOutcome {
  ClientState state;
  /// It was attached to this server already: nothing was changed.
  bool was_attached = false;
};

/// The server has proved who it is, and the volunteer has agreed, before the invitation is sent.
/// Errors: kInvalidArgument (no URL, no invitation in it, plain HTTP beyond this machine),
/// kUnavailable (server not there, or not the one that the line names), kUnauthenticated
/// (invitation not accepted), kPermissionDenied (a server of another version), kFailedPrecondition
/// (attached to another server, or it has another key now), kCanceled (not confirmed).
Result<AttachOutcome> attach(const AttachOptions& options);

/// Tells the server, then forgets it: state, cache, work. Requires: the folder's lock is held.
/// `is_forced`: forgets it even if the server cannot be told. Errors: as of the network.
Status detach(const ClientFolder& folder, bool is_forced);

}  // namespace mh::client
