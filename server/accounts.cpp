// See accounts.h.
#include "server/accounts.h"

#include <algorithm>
#include <cctype>
#include <ctime>

#include "proto/base/check.h"
#include "server/secrets.h"

namespace mh::server {
namespace {

// A row whose hash equals that of the secret. The map's own search leaks at most how many bits of
// a *hash* agree, which helps nobody to find a secret; the final word is constant in time.
template <typename Row>
const Row* find_by_secret(const std::unordered_map<Digest, Row>& rows, std::string_view secret) {
  // Nothing we hand out is longer; do not hash what a stranger makes up.
  if (secret.empty() || secret.size() > 128) return nullptr;
  const Digest hash = secret_hash(secret);
  const auto found = rows.find(hash);
  if (found == rows.end() || !constant_time_equal(found->second.hash, hash)) return nullptr;
  return &found->second;
}

Error unauthenticated(std::string message) {
  return Error{Errc::kUnauthenticated, std::move(message)};
}

template <class Map>
auto sorted_rows(const Map& rows_by_hash) {
  std::vector<typename Map::mapped_type> rows;
  for (const auto& [hash, row] : rows_by_hash) rows.push_back(row);
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return rows;
}

}  // namespace

std::string utc_text(TimePoint time) {
  const std::time_t seconds = static_cast<std::time_t>(to_unix_ms(time) / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kVolunteer:
      return "volunteer";
    case Role::kResearcher:
      return "researcher";
    case Role::kAdmin:
      return "admin";
  }
  return "unknown";
}

Accounts::Accounts(AccountsSnapshot snapshot) {
  for (AccountRow& row : snapshot.accounts) {
    next_account_id_ = std::max(next_account_id_, row.id + 1);
    accounts_.emplace(row.id, std::move(row));
  }
  for (const TokenRow& row : snapshot.tokens) {
    next_token_id_ = std::max(next_token_id_, row.id + 1);
    tokens_by_hash_.emplace(row.hash, row);
  }
  for (const InvitationRow& row : snapshot.invitations) {
    next_invitation_id_ = std::max(next_invitation_id_, row.id + 1);
    invitations_by_hash_.emplace(row.hash, row);
  }
  audit_count_ = snapshot.audit_count;
  hosts_by_hash_.reserve(snapshot.host_secrets.size());
  for (const HostSecretRow& row : snapshot.host_secrets) add_host(row);
}

Result<Caller> Accounts::authenticate(std::string_view token, Role role_min, TimePoint now) {
  if (token.empty()) {
    return unauthenticated(
        "this call needs a token: send \"Authorization: Bearer TOKEN\" (manyhands login does)");
  }
  const TokenRow* row = find_by_secret(tokens_by_hash_, token);
  if (row == nullptr) {
    return unauthenticated("unknown token: log in again with a token of this server");
  }
  if (row->is_revoked) return unauthenticated("token was revoked: ask an admin for another");
  if (row->expires <= now) {
    return unauthenticated("token expired at " + utc_text(row->expires) +
                           ": make another with \"manyhands account token\" (as an admin), or use "
                           "the server's admin.token file");
  }
  const AccountRow* account = find_account(row->account_id);
  MH_CHECK(account != nullptr);
  if (account->role < role_min) {
    return fail(Errc::kPermissionDenied,
                "this call needs the role " + std::string(role_name(role_min)) + ", account \"" +
                    account->name + "\" is " + std::string(role_name(account->role)));
  }
  if (row->last_used + kLastUsedGrain <= now) {
    tokens_by_hash_.at(row->hash).last_used = now;
    used_tokens_.push_back(row->hash);
  }
  return Caller{*account, row->id, row->expires};
}

void Accounts::take_used_tokens(std::vector<TokenRow>& rows) {
  for (const Digest& hash : used_tokens_) rows.push_back(tokens_by_hash_.at(hash));
  used_tokens_.clear();
}

AuditRow Accounts::audit(const Caller& caller, std::string action, TimePoint now) {
  return {++audit_count_, now, caller.account.id, caller.token_id, std::move(action)};
}

Result<HostSecretRow> Accounts::authenticate_host(std::string_view secret) const {
  const HostSecretRow* row = find_by_secret(hosts_by_hash_, secret);
  if (row == nullptr) {
    return unauthenticated(
        "unknown host: attach this machine first (manyhands-client attach LINE-OF-THE-ADMIN)");
  }
  if (row->is_revoked) {
    return unauthenticated("host " + std::to_string(row->host_id) +
                           " is detached: attach it again to go on");
  }
  return *row;
}

Result<InvitationRow> Accounts::check_invitation(std::string_view text, TimePoint now) const {
  const InvitationRow* row = find_by_secret(invitations_by_hash_, text);
  if (row == nullptr) {
    return unauthenticated("unknown invitation: ask the server's admin for a new join line");
  }
  if (row->is_revoked) {
    return unauthenticated("invitation was revoked: ask the server's admin for a new join line");
  }
  if (row->expires <= now) {
    return unauthenticated("invitation expired at " + utc_text(row->expires) +
                           ": ask the server's admin for a new join line");
  }
  if (row->use_count >= row->use_count_max) {
    return unauthenticated("invitation was used " + std::to_string(row->use_count) +
                           " times, which is its limit: ask the server's admin for a new one");
  }
  return *row;
}

std::optional<HostSecretRow> Accounts::find_host(const Digest& hash) const {
  const auto found = hosts_by_hash_.find(hash);
  if (found == hosts_by_hash_.end()) return std::nullopt;
  return found->second;
}

InvitationRow Accounts::use_invitation(std::uint64_t invitation_id) {
  for (auto& [hash, row] : invitations_by_hash_) {
    if (row.id != invitation_id) continue;
    row.use_count += 1;
    return row;
  }
  MH_CHECK(false);
}

void Accounts::add_host(const HostSecretRow& row) {
  hosts_by_hash_.insert_or_assign(row.hash, row);
}

std::optional<HostSecretRow> Accounts::revoke_host(std::uint64_t host_id) {
  for (auto& [hash, row] : hosts_by_hash_) {
    if (row.host_id != host_id) continue;
    row.is_revoked = true;
    return row;
  }
  return std::nullopt;
}

Result<AccountRow> Accounts::create_account(const std::string& name, Role role, TimePoint now) {
  const bool is_well_formed =
      !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ||
               c == '-' || c == '@';
      });
  if (!is_well_formed) {
    return fail(Errc::kInvalidArgument,
                "account name: 1 to 64 letters, digits, '.', '_', '-' or '@'");
  }
  for (const auto& [id, account] : accounts_) {
    if (account.name == name) {
      return fail(Errc::kAlreadyExists,
                  "account \"" + name + "\" exists already (id " + std::to_string(id) + ")");
    }
  }
  AccountRow row{next_account_id_++, name, role, now};
  accounts_.emplace(row.id, row);
  return row;
}

Result<NewToken> Accounts::create_token(const Caller& caller, std::uint64_t account_id,
                                        std::chrono::seconds lifetime, TimePoint now) {
  if (lifetime.count() == 0) lifetime = kTokenLifetimeDefault;
  if (lifetime.count() < 0 || lifetime > kTokenLifetimeMax) {
    return fail(Errc::kInvalidArgument, "token lifetime is at most 10 years (315619200 s)");
  }
  if (account_id == 0) account_id = caller.account.id;
  if (caller.account.role != Role::kAdmin &&
      (account_id != caller.account.id || now + lifetime > caller.token_expires)) {
    return fail(Errc::kPermissionDenied,
                "only an admin may make a token for another account, or one that outlives the "
                "caller's own");
  }
  if (find_account(account_id) == nullptr) {
    return fail(Errc::kNotFound, "no account " + std::to_string(account_id));
  }
  NewToken token;
  token.text = make_secret("mht_");
  token.row = TokenRow{next_token_id_++, account_id, secret_hash(token.text), now, now + lifetime};
  tokens_by_hash_.emplace(token.row.hash, token.row);
  return token;
}

bool Accounts::has_other_admin_token(std::uint64_t token_id, TimePoint now) const {
  return std::any_of(tokens_by_hash_.begin(), tokens_by_hash_.end(), [&](const auto& item) {
    const TokenRow& row = item.second;
    const AccountRow* account = find_account(row.account_id);
    return row.id != token_id && !row.is_revoked && row.expires > now && account != nullptr &&
           account->role == Role::kAdmin;
  });
}

Result<TokenRow> Accounts::revoke_token(std::uint64_t token_id, TimePoint now) {
  for (auto& [hash, row] : tokens_by_hash_) {
    if (row.id != token_id) continue;
    if (!row.is_revoked && !has_other_admin_token(token_id, now)) {
      return fail(Errc::kFailedPrecondition,
                  "token " + std::to_string(token_id) +
                      " is the last one that an admin can use: without it nobody could ever manage "
                      "this server; make another first (manyhands account token admin)");
    }
    row.is_revoked = true;
    return row;
  }
  return fail(Errc::kNotFound, "no token " + std::to_string(token_id));
}

Result<NewInvitation> Accounts::create_invitation(std::uint64_t account_id,
                                                  std::uint32_t use_count_max,
                                                  std::chrono::seconds lifetime, TimePoint now) {
  if (use_count_max == 0) use_count_max = kInvitationUsesDefault;
  if (lifetime.count() == 0) lifetime = kInvitationLifetimeDefault;
  if (lifetime.count() < 0 || lifetime > kTokenLifetimeMax) {
    return fail(Errc::kInvalidArgument, "invitation lifetime is at most 10 years (315619200 s)");
  }
  if (account_id == 0) {
    for (const auto& [id, account] : accounts_) {
      if (account.name == kVolunteersName) account_id = id;
    }
  }
  if (find_account(account_id) == nullptr) {
    return fail(Errc::kNotFound, "no account " + std::to_string(account_id));
  }
  NewInvitation invitation;
  invitation.text = make_secret("mhi_");
  invitation.row =
      InvitationRow{next_invitation_id_++, account_id,    secret_hash(invitation.text), 0,
                    use_count_max,         now + lifetime};
  invitations_by_hash_.emplace(invitation.row.hash, invitation.row);
  return invitation;
}

Result<InvitationRow> Accounts::revoke_invitation(std::uint64_t invitation_id) {
  for (auto& [hash, row] : invitations_by_hash_) {
    if (row.id != invitation_id) continue;
    row.is_revoked = true;
    return row;
  }
  return fail(Errc::kNotFound, "no invitation " + std::to_string(invitation_id));
}

bool Accounts::is_shared(std::uint64_t account_id) const {
  const AccountRow* account = find_account(account_id);
  return account != nullptr && account->name == kVolunteersName;
}

std::vector<AccountRow> Accounts::accounts() const {
  std::vector<AccountRow> rows;
  for (const auto& [id, row] : accounts_) rows.push_back(row);
  return rows;
}

std::vector<TokenRow> Accounts::tokens() const { return sorted_rows(tokens_by_hash_); }

std::vector<InvitationRow> Accounts::invitations() const {
  return sorted_rows(invitations_by_hash_);
}

std::string Accounts::account_name(std::uint64_t id) const {
  const AccountRow* account = find_account(id);
  return account == nullptr ? std::string() : account->name;
}

std::vector<std::uint64_t> Accounts::hosts_of(std::uint64_t account_id) const {
  std::vector<std::uint64_t> hosts;
  for (const auto& [hash, row] : hosts_by_hash_) {
    if (row.account_id == account_id) hosts.push_back(row.host_id);
  }
  std::sort(hosts.begin(), hosts.end());
  return hosts;
}

const AccountRow* Accounts::find_account(std::uint64_t id) const {
  const auto found = accounts_.find(id);
  return found == accounts_.end() ? nullptr : &found->second;
}

}  // namespace mh::server
