// See server_folder.h.
#include "server/server_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <thread>

#include "server/accounts.h"
#include "server/secrets.h"
#include "server/sqlite_store.h"
#include "server/tls_identity.h"

namespace mh::server {
namespace {

constexpr std::size_t kServerIdBytes = 8;
constexpr std::uint64_t kKeyBytesMax = 4096;
constexpr int kLockAttempts = 5;
constexpr std::chrono::milliseconds kLockPause{20};

// The first rows, and the secrets that people get.
Status fill(const ServerFolder& folder, TimePoint now, const NewServerOptions& options) {
  Accounts accounts({});
  Transaction first;
  MH_TRY(const AccountRow admin, accounts.create_account("admin", Role::kAdmin, now));
  MH_TRY(const AccountRow volunteers,
         accounts.create_account(std::string(Accounts::kVolunteersName), Role::kVolunteer, now));
  MH_TRY(const NewToken token,
         accounts.create_token(Caller{admin, {}}, admin.id, std::chrono::hours(24 * 3652), now));
  MH_TRY(const NewInvitation invitation,
         accounts.create_invitation(volunteers.id, options.invitation_uses,
                                    options.invitation_lifetime, now));
  first.accounts = {admin, volunteers};
  first.tokens = {token.row};
  first.invitations = {invitation.row};

  MH_TRY_VOID(SqliteStore::create(folder.database(), random_hex(kServerIdBytes)));
  MH_TRY(const auto store, SqliteStore::open(folder.database()));
  std::promise<void> committed;
  store->commit(std::move(first), [&committed] { committed.set_value(); });
  committed.get_future().wait();
  MH_TRY_VOID(write_file_atomically(folder.admin_token(), token.text + "\n", 0600));
  MH_TRY_VOID(write_file_atomically(folder.invitation(), invitation.text + "\n", 0600));
  MH_TRY_VOID(open_signing_key(folder));
  MH_TRY_VOID(open_tls_identity(folder, certificate_names(options.names), now));
  return {};
}

}  // namespace

Status make_server_folder(const std::filesystem::path& folder, TimePoint now,
                          const NewServerOptions& options) {
  std::error_code error;
  std::filesystem::path target = std::filesystem::absolute(folder, error).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (std::filesystem::exists(target, error) &&
      !(std::filesystem::is_directory(target, error) && std::filesystem::is_empty(target, error))) {
    return fail(Errc::kAlreadyExists,
                folder.string() + " exists and is not an empty folder: choose another one");
  }
  std::filesystem::create_directories(target.parent_path(), error);
  if (error) return errno_error("cannot create", target.parent_path(), error.value());
  const std::filesystem::path partial =
      target.parent_path() / ("." + target.filename().string() + ".init-" + random_hex(4));
  if (::mkdir(partial.c_str(), 0700) != 0) return errno_error("cannot create", partial, errno);
  Status made = fill(ServerFolder{partial}, now, options);
  if (made.has_value() && ::rename(partial.c_str(), target.c_str()) != 0) {
    made = errno_error("cannot create", target, errno);
  }
  if (!made.has_value()) {
    std::filesystem::remove_all(partial, error);
    return made;
  }
  return fsync_dir(target.parent_path());
}

Result<SigningKey> open_signing_key(const ServerFolder& folder) {
  const auto text = read_file(folder.signing_key(), kKeyBytesMax);
  if (!text && text.error().code == Errc::kNotFound) {
    SigningKey made = SigningKey::make();
    MH_TRY_VOID(write_file_atomically(folder.signing_key(), made.pem(), 0600));
    return made;
  }
  if (!text) return text.error();
  auto key = SigningKey::from_pem(*text);
  if (!key)
    return fail(Errc::kDataLoss, folder.signing_key().string() + " " + key.error().message +
                                     ": copy it from a backup");
  return key;
}

Result<UniqueFd> lock_server_folder(const ServerFolder& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder.database(), ignored)) {
    return fail(Errc::kNotFound, folder.root.string() +
                                     " is no server's folder: run 'manyhands-server init " +
                                     folder.root.string() + "' first, or mistyped");
  }
  UniqueFd lock(::open(folder.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.is_open()) return errno_error("cannot open", folder.lock(), errno);
  // Who only asks whether a server runs has the lock for a moment.
  bool is_ours = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
  for (int attempt = 1; !is_ours && errno == EWOULDBLOCK && attempt < kLockAttempts; ++attempt) {
    std::this_thread::sleep_for(kLockPause);
    is_ours = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
  }
  if (!is_ours) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock", folder.lock(), errno);
    return fail(Errc::kUnavailable,
                folder.root.string() + " is in use by another manyhands-server: stop it first");
  }
  return lock;
}

}  // namespace mh::server
