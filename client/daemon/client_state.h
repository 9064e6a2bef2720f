// What a client keeps about its attachment: one folder with state.json (mode 0600: it holds the
// host's secret), cache/, work/, out/, the control socket and a lock that one daemon holds.
// Threads: any; calls block on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "proto/base/file.h"
#include "proto/base/ids.h"
#include "proto/base/result.h"

namespace mh::client {

struct ClientFolder {
  std::filesystem::path root;

  std::filesystem::path state() const { return root / "state.json"; }
  std::filesystem::path cache() const { return root / "cache"; }
  std::filesystem::path work() const { return root / "work"; }
  /// Where the trainer writes; everything else it may at most read.
  std::filesystem::path out() const { return root / "out"; }
  std::filesystem::path socket() const { return root / "control.sock"; }
  std::filesystem::path lock() const { return root / "lock"; }
};

/// `flag` if not empty, else MANYHANDS_CLIENT_DIR, else ${XDG_DATA_HOME:-~/.local/share}/
/// manyhands-client. Errors: kFailedPrecondition (no home).
Result<ClientFolder> find_client_folder(const std::string& flag);

/// Makes the folders, readable by this user only. Errors: kInternal, kPermissionDenied.
Status make_client_folders(const ClientFolder& folder);

struct ClientState {
  /// "https://host:port".
  std::string server;
  /// Of the server's key (proto/net/certificate.h); empty: it is known by an authority.
  std::string fingerprint;
  /// PEM text of the authorities to trust instead of the system's; empty: the system's.
  std::string authority_pem;
  std::string server_id;
  /// 0: the secret was made, but the server has not confirmed it yet.
  HostId host;
  /// Never printed or logged.
  std::string host_secret;
  std::string name;
  bool is_paused = false;

  bool is_attached() const { return host.is_valid(); }
};

/// Errors: kNotFound (never attached), kDataLoss (not readable: says what to do).
Result<ClientState> load_state(const ClientFolder& folder);
Status save_state(const ClientFolder& folder, const ClientState& state);

/// Takes the lock; held while the descriptor is open, and no longer than the process lives.
/// Errors: kAborted (another daemon holds it).
Result<UniqueFd> lock_folder(const ClientFolder& folder);

}  // namespace mh::client
