// `manyhands account`: accounts, tokens, invitations, and who changed what.
#include <chrono>

#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/admin.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint64_t kDaySeconds = 24 * 3600;
constexpr std::uint64_t kDaysMax = 3650;

std::string role_text(v1::Role role) {
  switch (role) {
    case v1::ROLE_VOLUNTEER:
      return "volunteer";
    case v1::ROLE_RESEARCHER:
      return "researcher";
    case v1::ROLE_ADMIN:
      return "admin";
    default:
      return "unknown";
  }
}

Result<v1::Role> parse_role(const std::string& text) {
  for (const v1::Role role : {v1::ROLE_VOLUNTEER, v1::ROLE_RESEARCHER, v1::ROLE_ADMIN}) {
    if (role_text(role) == text) return role;
  }
  return fail(Errc::kInvalidArgument,
              "--role '" + text + "' is none of volunteer, researcher, admin");
}

Result<v1::ListAccountsResponse> list_accounts(Context& context) {
  return context.call<v1::ListAccountsResponse>("AccountService/ListAccounts",
                                                v1::ListAccountsRequest());
}

// By name or id.
Result<std::uint64_t> find_account(Context& context, const std::string& name_or_id) {
  MH_TRY(const auto reply, list_accounts(context));
  for (const v1::Account& account : reply.accounts()) {
    if (account.name() == name_or_id || std::to_string(account.id()) == name_or_id)
      return account.id();
  }
  return fail(Errc::kNotFound,
              "no account '" + name_or_id + "': 'manyhands account list' shows all");
}

Result<int> run_list(Context& context) {
  MH_TRY(const auto reply, list_accounts(context));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"ID", Table::Align::kRight},
               {"NAME"},
               {"ROLE"},
               {"HOSTS", Table::Align::kRight},
               {"CREDIT/GFLOP", Table::Align::kRight},
               {"CREATED (UTC)"}});
  for (const v1::Account& account : reply.accounts())
    table.add_row({std::to_string(account.id()), account.name(), role_text(account.role()),
                   std::to_string(account.host_count()), decimal(account.credit(), 1),
                   time_text(account.created_ms())});
  context.out() << table.text();
  return kExitDone;
}

Result<int> run_create(Context& context, const std::string& name, const std::string& role) {
  v1::CreateAccountRequest request;
  request.set_name(name);
  MH_TRY(const v1::Role parsed, parse_role(role));
  request.set_role(parsed);
  MH_TRY(const auto reply,
         context.call<v1::CreateAccountResponse>("AccountService/CreateAccount", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Account " << reply.account().id() << " '" << printable(name) << "' (" << role
                  << ") is made. A token for it: manyhands account token " << printable(name)
                  << "\n";
  return kExitDone;
}

Result<int> run_token(Context& context, const std::string& account, std::uint64_t days) {
  v1::CreateTokenRequest request;
  MH_TRY(const auto id, find_account(context, account));
  request.set_account_id(id);
  request.set_lifetime_seconds(days * kDaySeconds);
  MH_TRY(const auto reply,
         context.call<v1::CreateTokenResponse>("AccountService/CreateToken", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  // The token alone on stdout, so that it can be sent into a file.
  context.out() << reply.token() << "\n";
  context.err() << "Token " << reply.token_id() << ", valid until " << time_text(reply.expires_ms())
                << " UTC. It is shown only now.\n";
  return kExitDone;
}

Result<int> run_revoke(Context& context, std::uint64_t token_id) {
  v1::RevokeTokenRequest request;
  request.set_token_id(token_id);
  MH_TRY(const auto reply,
         context.call<v1::RevokeTokenResponse>("AccountService/RevokeToken", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Token " << token_id << " works no longer.\n";
  return kExitDone;
}

Result<int> run_revoke_invitation(Context& context, std::uint64_t invitation_id) {
  v1::RevokeInvitationRequest request;
  request.set_invitation_id(invitation_id);
  MH_TRY(const auto reply,
         context.call<v1::RevokeInvitationResponse>("AccountService/RevokeInvitation", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Invitation " << invitation_id
                  << " works no longer; hosts that joined with it stay.\n";
  return kExitDone;
}

template <class Message>
std::string state_text(const Message& message, bool is_used_up) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (message.revoked()) return "revoked";
  if (is_used_up) return "used up";
  const bool is_over =
      message.expires_ms() <= std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  return is_over ? "expired" : "works";
}

Result<int> run_tokens(Context& context) {
  MH_TRY(const auto reply, context.call<v1::ListTokensResponse>("AccountService/ListTokens",
                                                                v1::ListTokensRequest()));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"TOKEN", Table::Align::kRight},
               {"ACCOUNT"},
               {"STATE"},
               {"CREATED (UTC)"},
               {"EXPIRES (UTC)"},
               {"LAST USED (UTC)"}});
  for (const v1::Token& token : reply.tokens())
    table.add_row({std::to_string(token.id()), token.account_name(), state_text(token, false),
                   time_text(token.created_ms()), time_text(token.expires_ms()),
                   token.last_used_ms() == 0 ? "never" : time_text(token.last_used_ms())});
  context.out() << table.text();
  return kExitDone;
}

Result<int> run_invitations(Context& context) {
  MH_TRY(const auto reply, context.call<v1::ListInvitationsResponse>(
                               "AccountService/ListInvitations", v1::ListInvitationsRequest()));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"INVITATION", Table::Align::kRight},
               {"ACCOUNT"},
               {"STATE"},
               {"JOINED", Table::Align::kRight},
               {"MOST", Table::Align::kRight},
               {"EXPIRES (UTC)"}});
  for (const v1::Invitation& row : reply.invitations())
    table.add_row({std::to_string(row.id()), row.account_name(),
                   state_text(row, row.use_count() >= row.use_count_max()),
                   with_commas(row.use_count()), with_commas(row.use_count_max()),
                   time_text(row.expires_ms())});
  context.out() << table.text();
  return kExitDone;
}

Result<int> run_audit(Context& context, std::uint64_t count) {
  v1::ListAuditRequest request;
  request.set_entry_count_max(static_cast<std::uint32_t>(count));
  MH_TRY(const auto reply,
         context.call<v1::ListAuditResponse>("AccountService/ListAudit", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"TIME (UTC)"}, {"ACCOUNT"}, {"TOKEN", Table::Align::kRight}, {"WHAT"}});
  for (const v1::AuditEntry& entry : reply.entries())
    table.add_row({time_text(entry.time_ms()), entry.account_name(),
                   std::to_string(entry.token_id()), entry.action()});
  context.out() << table.text();
  return kExitDone;
}

struct InviteArguments {
  std::string account;
  std::uint64_t uses = 0;
  std::uint64_t days = 0;
};

Result<int> run_invite(Context& context, const InviteArguments& arguments) {
  v1::CreateInvitationRequest request;
  if (!arguments.account.empty()) {
    MH_TRY(const auto id, find_account(context, arguments.account));
    request.set_account_id(id);
  }
  request.set_use_count_max(static_cast<std::uint32_t>(arguments.uses));
  request.set_lifetime_seconds(arguments.days * kDaySeconds);
  MH_TRY(const auto reply,
         context.call<v1::CreateInvitationResponse>("AccountService/CreateInvitation", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  context.out() << reply.join_line() << "\n";
  context.err() << "That is what a volunteer types, until " << time_text(reply.expires_ms())
                << " UTC.\n";
  return kExitDone;
}

VerbRun define_create(OptionSink& options) {
  const auto name = std::make_shared<std::string>();
  const auto role = std::make_shared<std::string>("researcher");
  options.positional("name", *name, "What the account is called");
  options.text("--role", *role, "volunteer, researcher (looks and downloads) or admin");
  return [name, role](Context& context) { return run_create(context, *name, *role); };
}

VerbRun define_token(OptionSink& options) {
  const auto account = std::make_shared<std::string>();
  const auto days = std::make_shared<std::uint64_t>(90);
  options.positional("account", *account, "Name or id of the account");
  options.number("--days", *days, 1, kDaysMax, "How long it works");
  return [account, days](Context& context) { return run_token(context, *account, *days); };
}

VerbRun define_revoke(OptionSink& options) {
  const auto token = std::make_shared<std::uint64_t>(0);
  const auto invitation = std::make_shared<std::uint64_t>(0);
  options.number("--token", *token, 1, UINT64_MAX, "Number of the token");
  options.number("--invitation", *invitation, 1, UINT64_MAX, "Number of the invitation");
  return [token, invitation](Context& context) -> Result<int> {
    if ((*token == 0) == (*invitation == 0))
      return fail(Errc::kInvalidArgument,
                  "which one? Give --token NUMBER or --invitation NUMBER ('manyhands account "
                  "tokens' and 'account invitations' show them)");
    return *token != 0 ? run_revoke(context, *token) : run_revoke_invitation(context, *invitation);
  };
}

VerbRun define_audit(OptionSink& options) {
  const auto count = std::make_shared<std::uint64_t>(100);
  options.number("--count", *count, 1, 10'000, "At most so many entries, the newest");
  return [count](Context& context) { return run_audit(context, *count); };
}

VerbRun define_invite(OptionSink& options) {
  const auto arguments = std::make_shared<InviteArguments>();
  options.text("--account", arguments->account,
               "Account of the joining hosts; default: volunteers");
  options.number("--uses", arguments->uses, 0, 1'000'000, "How many hosts may join; 0: 100");
  options.number("--days", arguments->days, 0, kDaysMax, "How long it works; 0: 7 days");
  return [arguments](Context& context) { return run_invite(context, *arguments); };
}

}  // namespace

std::vector<Verb> account_verbs() {
  return {{"account", "list", "Show all accounts", "manyhands account list",
           [](OptionSink&) -> VerbRun { return run_list; }},
          {"account", "create", "Make an account",
           "manyhands account create marie --role researcher", define_create},
          {"account", "token", "Make a token for an account; it is shown once",
           "manyhands account token marie --days 30 > marie.token", define_token},
          {"account", "tokens", "Show tokens: whose, until when, last used",
           "manyhands account tokens", [](OptionSink&) -> VerbRun { return run_tokens; }},
          {"account", "invitations", "Show invitations: how many joined, until when",
           "manyhands account invitations", [](OptionSink&) -> VerbRun { return run_invitations; }},
          {"account", "revoke", "Stop a token or an invitation",
           "manyhands account revoke --token 7", define_revoke},
          {"account", "audit", "Who changed what: accounts, jobs, data sets, trust",
           "manyhands account audit --count 20", define_audit},
          {"account", "invite", "Make an invitation and print what a volunteer types",
           "manyhands account invite --uses 20 --days 7", define_invite}};
}

}  // namespace mh::cli
