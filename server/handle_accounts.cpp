// AccountService: accounts, their tokens, invitations for hosts.
#include <algorithm>
#include <limits>

#include "manyhands/v1/admin.pb.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "proto/net/server_link.h"
#include "server/handler.h"
#include "server/handlers.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint64_t kAuditEntriesDefault = 100;
constexpr std::uint64_t kAuditEntriesMax = 10'000;

v1::Role to_message(Role role) {
  switch (role) {
    case Role::kVolunteer:
      return v1::ROLE_VOLUNTEER;
    case Role::kResearcher:
      return v1::ROLE_RESEARCHER;
    case Role::kAdmin:
      return v1::ROLE_ADMIN;
  }
  return v1::ROLE_UNSPECIFIED;
}

Result<Role> to_role(v1::Role role) {
  switch (role) {
    case v1::ROLE_VOLUNTEER:
      return Role::kVolunteer;
    case v1::ROLE_RESEARCHER:
      return Role::kResearcher;
    case v1::ROLE_ADMIN:
      return Role::kAdmin;
    default:
      return fail(Errc::kInvalidArgument,
                  "role: one of ROLE_VOLUNTEER, ROLE_RESEARCHER, ROLE_ADMIN");
  }
}

v1::Account to_message(Core& core, const AccountRow& row) {
  v1::Account message;
  message.set_id(row.id);
  message.set_name(row.name);
  message.set_role(to_message(row.role));
  message.set_created_ms(to_unix_ms(row.created));
  double credit = 0;
  const std::vector<std::uint64_t> hosts = core.accounts().hosts_of(row.id);
  for (const std::uint64_t id : hosts) {
    if (const auto host = core.coordinator().host(HostId(id))) credit += host->row.credit;
  }
  message.set_host_count(static_cast<std::uint32_t>(hosts.size()));
  message.set_credit(credit);
  return message;
}

// Lifetimes of messages are unsigned; what no clock can hold is too long all the same.
std::chrono::seconds to_lifetime(std::uint64_t seconds) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  return std::chrono::seconds(static_cast<std::int64_t>(std::min(seconds, kMost)));
}

asio::awaitable<Result<v1::GetSelfResponse>> get_self(Core& core, net::CallContext context,
                                                      v1::GetSelfRequest) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kVolunteer, core.now()));
  v1::GetSelfResponse response;
  *response.mutable_account() = to_message(core, caller.account);
  response.set_token_expires_ms(to_unix_ms(caller.token_expires));
  co_return response;
}

asio::awaitable<Result<v1::ListAccountsResponse>> list_accounts(Core& core,
                                                                net::CallContext context,
                                                                v1::ListAccountsRequest) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  v1::ListAccountsResponse response;
  for (const AccountRow& row : core.accounts().accounts())
    *response.add_accounts() = to_message(core, row);
  co_return response;
}

asio::awaitable<Result<v1::CreateAccountResponse>> create_account(
    Core& core, net::CallContext context, v1::CreateAccountRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY(const Role role, to_role(request.role()));
  MH_CO_TRY(const AccountRow row, core.accounts().create_account(request.name(), role, core.now()));
  Transaction extra = audited(
      core, caller, "account " + row.name + " was made, role " + std::string(role_name(row.role)));
  extra.accounts.push_back(row);
  co_await core.commit(std::move(extra));
  log_info("account created",
           {{"account", row.name}, {"role", role_name(row.role)}, {"by", caller.account.name}});
  v1::CreateAccountResponse response;
  *response.mutable_account() = to_message(core, row);
  co_return response;
}

asio::awaitable<Result<v1::CreateTokenResponse>> create_token(Core& core, net::CallContext context,
                                                              v1::CreateTokenRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kVolunteer, core.now()));
  MH_CO_TRY(const NewToken token,
            core.accounts().create_token(caller, request.account_id(),
                                         to_lifetime(request.lifetime_seconds()), core.now()));
  Transaction extra = audited(core, caller,
                              "token " + std::to_string(token.row.id) + " was made for account " +
                                  core.accounts().account_name(token.row.account_id));
  extra.tokens.push_back(token.row);
  co_await core.commit(std::move(extra));
  log_info(
      "token created",
      {{"token", token.row.id}, {"account", token.row.account_id}, {"by", caller.account.name}});
  v1::CreateTokenResponse response;
  response.set_token_id(token.row.id);
  response.set_token(token.text);
  response.set_expires_ms(to_unix_ms(token.row.expires));
  co_return response;
}

asio::awaitable<Result<v1::RevokeTokenResponse>> revoke_token(Core& core, net::CallContext context,
                                                              v1::RevokeTokenRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY(const TokenRow row, core.accounts().revoke_token(request.token_id(), core.now()));
  Transaction extra = audited(core, caller, "token " + std::to_string(row.id) + " was revoked");
  extra.tokens.push_back(row);
  co_await core.commit(std::move(extra));
  log_info("token revoked", {{"token", row.id}, {"by", caller.account.name}});
  co_return v1::RevokeTokenResponse();
}

asio::awaitable<Result<v1::ListTokensResponse>> list_tokens(Core& core, net::CallContext context,
                                                            v1::ListTokensRequest) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kVolunteer, core.now()));
  co_await core.settled();
  v1::ListTokensResponse response;
  for (const TokenRow& row : core.accounts().tokens()) {
    if (caller.account.role != Role::kAdmin && row.account_id != caller.account.id) continue;
    v1::Token& message = *response.add_tokens();
    message.set_id(row.id);
    message.set_account_id(row.account_id);
    message.set_account_name(core.accounts().account_name(row.account_id));
    message.set_created_ms(to_unix_ms(row.created));
    message.set_expires_ms(to_unix_ms(row.expires));
    message.set_revoked(row.is_revoked);
    message.set_last_used_ms(to_unix_ms(row.last_used));
  }
  co_return response;
}

asio::awaitable<Result<v1::ListInvitationsResponse>> list_invitations(Core& core,
                                                                      net::CallContext context,
                                                                      v1::ListInvitationsRequest) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  co_await core.settled();
  v1::ListInvitationsResponse response;
  for (const InvitationRow& row : core.accounts().invitations()) {
    v1::Invitation& message = *response.add_invitations();
    message.set_id(row.id);
    message.set_account_id(row.account_id);
    message.set_account_name(core.accounts().account_name(row.account_id));
    message.set_use_count(row.use_count);
    message.set_use_count_max(row.use_count_max);
    message.set_expires_ms(to_unix_ms(row.expires));
    message.set_revoked(row.is_revoked);
  }
  co_return response;
}

asio::awaitable<Result<v1::RevokeInvitationResponse>> revoke_invitation(
    Core& core, net::CallContext context, v1::RevokeInvitationRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY(const InvitationRow row, core.accounts().revoke_invitation(request.invitation_id()));
  Transaction extra =
      audited(core, caller, "invitation " + std::to_string(row.id) + " was revoked");
  extra.invitations.push_back(row);
  co_await core.commit(std::move(extra));
  log_info("invitation revoked", {{"invitation", row.id}, {"by", caller.account.name}});
  co_return v1::RevokeInvitationResponse();
}

asio::awaitable<Result<v1::ListAuditResponse>> list_audit(Core& core, net::CallContext context,
                                                          v1::ListAuditRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  co_await core.settled();
  const std::uint64_t most =
      request.entry_count_max() == 0
          ? kAuditEntriesDefault
          : std::min<std::uint64_t>(request.entry_count_max(), kAuditEntriesMax);
  auto read = [&store = core.store(), most] { return store.audit(most); };
  MH_CO_TRY(const std::vector<AuditRow> rows, co_await net::run_on(core.pool(), std::move(read)));
  v1::ListAuditResponse response;
  for (const AuditRow& row : rows) {
    v1::AuditEntry& message = *response.add_entries();
    message.set_sequence(row.sequence);
    message.set_time_ms(to_unix_ms(row.time));
    message.set_account_id(row.account_id);
    message.set_account_name(core.accounts().account_name(row.account_id));
    message.set_token_id(row.token_id);
    message.set_action(row.action);
  }
  co_return response;
}

asio::awaitable<Result<v1::CreateInvitationResponse>> create_invitation(
    Core& core, PublicAddress address, net::CallContext context,
    v1::CreateInvitationRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY(const NewInvitation invitation,
            core.accounts().create_invitation(request.account_id(), request.use_count_max(),
                                              to_lifetime(request.lifetime_seconds()), core.now()));
  Transaction extra =
      audited(core, caller,
              "invitation " + std::to_string(invitation.row.id) + " was made, for " +
                  std::to_string(invitation.row.use_count_max) + " hosts");
  extra.invitations.push_back(invitation.row);
  co_await core.commit(std::move(extra));
  log_info("invitation created", {{"invitation", invitation.row.id},
                                  {"uses", invitation.row.use_count_max},
                                  {"by", caller.account.name}});
  v1::CreateInvitationResponse response;
  response.set_invitation(invitation.text);
  response.set_join_line(join_line(address, invitation.text));
  response.set_expires_ms(to_unix_ms(invitation.row.expires));
  co_return response;
}

}  // namespace

std::string join_line(const PublicAddress& address, const std::string& invitation) {
  return "manyhands-client attach '" +
         net::server_link(address.url, invitation, address.fingerprint) + "'";
}

void add_account_service(net::ServiceTable& table, Core& core, const PublicAddress& address) {
  add_call(table, core, "AccountService/GetSelf", &get_self);
  add_call(table, core, "AccountService/ListAccounts", &list_accounts);
  add_call(table, core, "AccountService/CreateAccount", &create_account, Needs::kStore);
  add_call(table, core, "AccountService/CreateToken", &create_token, Needs::kStore);
  add_call(table, core, "AccountService/RevokeToken", &revoke_token, Needs::kStore);
  add_call(table, core, "AccountService/ListTokens", &list_tokens);
  add_call(table, core, "AccountService/ListInvitations", &list_invitations);
  add_call(table, core, "AccountService/RevokeInvitation", &revoke_invitation, Needs::kStore);
  add_call(table, core, "AccountService/ListAudit", &list_audit);
  auto invite = [&core, &address](net::CallContext context, v1::CreateInvitationRequest request) {
    Status writable = check_disk(core, context, Needs::kStore);
    if (!writable) return refused<v1::CreateInvitationResponse>(std::move(writable).error());
    return run_on_strand<v1::CreateInvitationResponse>(
        core.strand(), create_invitation(core, address, std::move(context), std::move(request)));
  };
  table.add<v1::CreateInvitationRequest, v1::CreateInvitationResponse>(
      "/manyhands.v1.AccountService/CreateInvitation", std::move(invite));
}

}  // namespace mh::server
