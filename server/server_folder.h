// A server's folder: what `init` makes in it, and who has it open.
// Threads: one; blocks on the disk.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/base/signature.h"
#include "server/accounts.h"

namespace mh::server {

// Names in the folder (docs/operating.md).
struct ServerFolder {
  std::filesystem::path root;

  std::filesystem::path database() const { return root / "manyhands.db"; }
  std::filesystem::path blobs() const { return root / "blobs"; }
  std::filesystem::path uploads() const { return root / "uploads"; }
  std::filesystem::path admin_token() const { return root / "admin.token"; }
  std::filesystem::path invitation() const { return root / "invitation"; }
  // What step records are signed with; the server's identity for those who audit it.
  std::filesystem::path signing_key() const { return root / "signing.key"; }
  // By which clients know the server: the key, and its own certificate (PEM).
  std::filesystem::path tls_key() const { return root / "tls.key"; }
  std::filesystem::path tls_certificate() const { return root / "tls.crt"; }
  std::filesystem::path lock() const { return root / "lock"; }
};

// What `init` can be told.
struct NewServerOptions {
  // Host names and addresses that the certificate is for beside this machine.
  std::vector<std::string> names;
  // Of the first invitation: how many hosts it is good for, and how long.
  std::uint32_t invitation_uses = Accounts::kInvitationUsesDefault;
  std::chrono::seconds invitation_lifetime = Accounts::kInvitationLifetimeDefault;
};

// Makes a new server: database, server id, the accounts "admin" and "volunteers", an admin's token,
// an invitation, the keys. All of it appears at once, or nothing does.
// Errors: kAlreadyExists (the folder is not empty), kInvalidArgument (a name), kInternal,
// kResourceExhausted.
Status make_server_folder(const std::filesystem::path& folder, TimePoint now,
                          const NewServerOptions& options = {});

// The key in the folder; where there is none (an older version made the folder) it is made now.
// Errors: kDataLoss (the file is not a key), kInternal, kResourceExhausted.
Result<SigningKey> open_signing_key(const ServerFolder& folder);

// Takes the folder for this process; the lock lasts as long as the descriptor.
// Errors: kNotFound (not a server's folder), kUnavailable (another server has it).
Result<UniqueFd> lock_server_folder(const ServerFolder& folder);

}  // namespace mh::server
