// Joining a server and leaving it. Threads: any; calls block on the network.
#pragma once

#include <functional>
#include <string>

#include "client/daemon/client_state.h"
#include "proto/net/url.h"

namespace mh::client {

struct AttachOptions {
  ClientFolder folder;
  /// "http://host:port/#INVITATION".
  std::string url;
  /// Empty: the machine's name.
  std::string name;
  /// Gets what will be done, in words; false: the volunteer does not want it.
  std::function<bool(const std::string& plan)> confirm;
};

struct AttachOutcome {
  ClientState state;
  /// It was attached to this server already: nothing was changed.
  bool was_attached = false;
};

/// Errors: kInvalidArgument (no URL, no invitation in it), kUnavailable (server not there),
/// kUnauthenticated (invitation not accepted), kPermissionDenied (a server of another version),
/// kFailedPrecondition (attached to another server), kCanceled (not confirmed).
Result<AttachOutcome> attach(const AttachOptions& options);

/// Tells the server, then forgets it: state, cache, work. Requires: the folder's lock is held.
/// `is_forced`: forgets it even if the server cannot be told. Errors: as of the network.
Status detach(const ClientFolder& folder, bool is_forced);

}  // namespace mh::client
