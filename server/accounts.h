// Who is calling, and what may they do: accounts, their tokens, invitations and host secrets, all
// in memory, looked up by the SHA-256 of what the caller sent. Decides and returns the rows to
// store; the shell commits them before it answers (so a member that makes something takes effect
// in memory at once, and is made known to the caller only after the commit).
// Threads: owned by the state strand.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/result.h"
#include "server/rows.h"

namespace mh::server {

struct AccountsSnapshot {
  std::vector<AccountRow> accounts;
  std::vector<TokenRow> tokens;
  std::vector<InvitationRow> invitations;
  std::vector<HostSecretRow> host_secrets;
  // Entries ever written to the audit log.
  std::uint64_t audit_count = 0;
};

// An authenticated holder of a token.
struct Caller {
  AccountRow account;
  std::uint64_t token_id = 0;
  TimePoint token_expires{};
};

struct NewToken {
  TokenRow row;
  // Shown once.
  std::string text;
};

struct NewInvitation {
  InvitationRow row;
  std::string text;
};

class Accounts {
 public:
  static constexpr std::chrono::seconds kTokenLifetimeDefault = std::chrono::hours(24 * 90);
  static constexpr std::chrono::seconds kTokenLifetimeMax = std::chrono::hours(24 * 3653);
  // How far behind a stored TokenRow::last_used may be.
  static constexpr std::chrono::minutes kLastUsedGrain{5};
  // Long enough to be read in a mail, short enough to be of no use in an old shell history.
  static constexpr std::chrono::seconds kInvitationLifetimeDefault = std::chrono::hours(24 * 7);
  static constexpr std::uint32_t kInvitationUsesDefault = 100;
  static constexpr std::string_view kVolunteersName = "volunteers";

  explicit Accounts(AccountsSnapshot snapshot);

  // Errors: kUnauthenticated (none given, unknown, revoked, expired: says what to do),
  // kPermissionDenied (role too low: says which is needed).
  // Notes that the token was used.
  Result<Caller> authenticate(std::string_view token, Role role_min, TimePoint now);
  // The host behind a host secret. Errors: kUnauthenticated.
  Result<HostSecretRow> authenticate_host(std::string_view secret) const;
  // The invitation behind its text. Errors: kUnauthenticated (unknown, used up, expired).
  Result<InvitationRow> check_invitation(std::string_view text, TimePoint now) const;
  // The host that attached with this secret before, if any.
  std::optional<HostSecretRow> find_host(const Digest& hash) const;

  // Counts one use of an invitation and returns its row to store.
  InvitationRow use_invitation(std::uint64_t invitation_id);
  void add_host(const HostSecretRow& row);
  // Makes the secret useless; the row to store, none if there is no such host.
  std::optional<HostSecretRow> revoke_host(std::uint64_t host_id);

  // Errors: kInvalidArgument (name), kAlreadyExists.
  Result<AccountRow> create_account(const std::string& name, Role role, TimePoint now);
  // Errors: kNotFound (account), kInvalidArgument (lifetime), kPermissionDenied (a caller who is
  // not admin asks for another account, or for longer than its own token lasts).
  Result<NewToken> create_token(const Caller& caller, std::uint64_t account_id,
                                std::chrono::seconds lifetime, TimePoint now);
  // Errors: kNotFound, kFailedPrecondition (the last admin's token that works at `now`).
  Result<TokenRow> revoke_token(std::uint64_t token_id, TimePoint now);
  // Errors: kNotFound.
  Result<InvitationRow> revoke_invitation(std::uint64_t invitation_id);
  // Adds the rows whose last use is not stored.
  void take_used_tokens(std::vector<TokenRow>& rows);
  // The entry that says what the caller did.
  AuditRow audit(const Caller& caller, std::string action, TimePoint now);

  // account_id 0: the account "volunteers". Errors: kNotFound, kInvalidArgument.
  Result<NewInvitation> create_invitation(std::uint64_t account_id, std::uint32_t use_count_max,
                                          std::chrono::seconds lifetime, TimePoint now);

  // Strangers share it: joining with its invitations says nothing about who a host belongs to.
  bool is_shared(std::uint64_t account_id) const;

  std::vector<AccountRow> accounts() const;
  // By id.
  std::vector<TokenRow> tokens() const;
  std::vector<InvitationRow> invitations() const;
  // Empty: there is no such account.
  std::string account_name(std::uint64_t id) const;
  // Hosts that belong to an account.
  std::vector<std::uint64_t> hosts_of(std::uint64_t account_id) const;

 private:
  const AccountRow* find_account(std::uint64_t id) const;
  bool has_other_admin_token(std::uint64_t token_id, TimePoint now) const;

  std::map<std::uint64_t, AccountRow> accounts_;
  std::unordered_map<Digest, TokenRow> tokens_by_hash_;
  std::unordered_map<Digest, InvitationRow> invitations_by_hash_;
  std::unordered_map<Digest, HostSecretRow> hosts_by_hash_;
  std::uint64_t next_account_id_ = 1;
  std::uint64_t next_token_id_ = 1;
  std::uint64_t next_invitation_id_ = 1;
  std::uint64_t audit_count_ = 0;
  // Used since they were stored.
  std::vector<Digest> used_tokens_;
};

// Role as documents and messages write it.
std::string_view role_name(Role role);
// "2026-12-02 17:00:00 UTC".
std::string utc_text(TimePoint time);

}  // namespace mh::server
