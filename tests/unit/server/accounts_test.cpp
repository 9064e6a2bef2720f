// Who may call what: tokens, invitations, host secrets.
#include "server/accounts.h"

#include <gtest/gtest.h>

#include "server/secrets.h"

namespace mh::server {
namespace {

class AccountsTest : public ::testing::Test {
 protected:
  AccountsTest() : accounts_(AccountsSnapshot{}) {
    admin_.account = accounts_.create_account("admin", Role::kAdmin, now_).value();
    admin_.token_expires = now_ + std::chrono::hours(24 * 365 * 20);
    volunteers_ = accounts_.create_account("volunteers", Role::kVolunteer, now_).value();
  }
  std::string token_of(std::uint64_t account, std::chrono::seconds lifetime) {
    return accounts_.create_token(admin_, account, lifetime, now_).value().text;
  }

  TimePoint now_{std::chrono::milliseconds(1'700'000'000'000)};
  Accounts accounts_;
  Caller admin_;
  AccountRow volunteers_;
};

TEST_F(AccountsTest, TokenNamesItsAccount) {
  const std::string token = token_of(admin_.account.id, std::chrono::hours(1));
  const auto caller = accounts_.authenticate(token, Role::kAdmin, now_);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller.value().account.name, "admin");
}

TEST_F(AccountsTest, MissingAndUnknownTokensAreRefused) {
  EXPECT_EQ(accounts_.authenticate("", Role::kVolunteer, now_).error().code,
            Errc::kUnauthenticated);
  EXPECT_EQ(accounts_.authenticate("mht_nonsense", Role::kVolunteer, now_).error().code,
            Errc::kUnauthenticated);
}

TEST_F(AccountsTest, TokenExpiresAtItsTimeNotBeforeAndSaysWhatToDo) {
  const std::string token = token_of(admin_.account.id, std::chrono::seconds(60));
  const TimePoint end = now_ + std::chrono::seconds(60);
  EXPECT_TRUE(accounts_.authenticate(token, Role::kAdmin, end - std::chrono::milliseconds(1)));
  const auto refused = accounts_.authenticate(token, Role::kAdmin, end);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUnauthenticated);
  EXPECT_NE(refused.error().message.find("token expired at 2023-11-14"), std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("make another"), std::string::npos);
}

TEST_F(AccountsTest, RoleTooLowIsDeniedAndSaysWhichIsNeeded) {
  const std::string token = token_of(volunteers_.id, std::chrono::hours(1));
  const auto refused = accounts_.authenticate(token, Role::kAdmin, now_);
  EXPECT_EQ(refused.error().code, Errc::kPermissionDenied);
  EXPECT_NE(refused.error().message.find("needs the role admin"), std::string::npos);
}

TEST_F(AccountsTest, RevokedTokenStopsWorking) {
  const auto token = accounts_.create_token(admin_, 0, std::chrono::hours(1), now_).value();
  const auto other = accounts_.create_token(admin_, 0, std::chrono::hours(1), now_).value();
  ASSERT_TRUE(accounts_.revoke_token(token.row.id, now_));
  EXPECT_FALSE(accounts_.authenticate(token.text, Role::kVolunteer, now_));
  EXPECT_EQ(accounts_.revoke_token(99, now_).error().code, Errc::kNotFound);
  // Repeating changes nothing; the last one of an admin stays.
  EXPECT_TRUE(accounts_.revoke_token(token.row.id, now_));
  EXPECT_EQ(accounts_.revoke_token(other.row.id, now_).error().code, Errc::kFailedPrecondition);
  EXPECT_TRUE(accounts_.authenticate(other.text, Role::kAdmin, now_));
}

TEST_F(AccountsTest, OnlyAnAdminMakesTokensForOthersOrLongerOnes) {
  const Caller volunteer{volunteers_, 0, now_ + std::chrono::hours(2)};
  EXPECT_TRUE(accounts_.create_token(volunteer, 0, std::chrono::hours(1), now_));
  EXPECT_EQ(accounts_.create_token(volunteer, 0, std::chrono::hours(3), now_).error().code,
            Errc::kPermissionDenied);
  EXPECT_EQ(accounts_.create_token(volunteer, admin_.account.id, std::chrono::hours(1), now_)
                .error()
                .code,
            Errc::kPermissionDenied);
}

TEST_F(AccountsTest, InvitationCountsItsUses) {
  const auto invitation = accounts_.create_invitation(0, 2, std::chrono::hours(1), now_).value();
  EXPECT_EQ(invitation.row.account_id, volunteers_.id);
  for (int use = 0; use < 2; ++use) {
    const auto row = accounts_.check_invitation(invitation.text, now_);
    ASSERT_TRUE(row);
    accounts_.use_invitation(row.value().id);
  }
  EXPECT_EQ(accounts_.check_invitation(invitation.text, now_).error().code, Errc::kUnauthenticated);
}

TEST_F(AccountsTest, InvitationExpires) {
  const auto invitation = accounts_.create_invitation(0, 2, std::chrono::hours(1), now_).value();
  EXPECT_FALSE(accounts_.check_invitation(invitation.text, now_ + std::chrono::hours(1)));
}

TEST_F(AccountsTest, ARevokedInvitationIsRefusedAndSaysSo) {
  const NewInvitation invitation =
      accounts_.create_invitation(0, 3, std::chrono::hours(1), now_).value();
  EXPECT_TRUE(accounts_.check_invitation(invitation.text, now_));
  EXPECT_TRUE(accounts_.revoke_invitation(invitation.row.id).value().is_revoked);
  const auto refused = accounts_.check_invitation(invitation.text, now_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("was revoked"), std::string::npos);
  EXPECT_TRUE(accounts_.invitations().at(0).is_revoked);
  EXPECT_EQ(accounts_.revoke_invitation(99).error().code, Errc::kNotFound);
}

TEST_F(AccountsTest, TheLastUseOfATokenIsStoredNowAndThen) {
  const std::string token = token_of(admin_.account.id, std::chrono::hours(10));
  std::vector<TokenRow> rows;
  accounts_.take_used_tokens(rows);
  EXPECT_TRUE(rows.empty()) << "nobody used it yet";
  EXPECT_TRUE(accounts_.authenticate(token, Role::kAdmin, now_));
  accounts_.take_used_tokens(rows);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].last_used, now_);
  EXPECT_TRUE(accounts_.authenticate(token, Role::kAdmin, now_ + std::chrono::minutes(4)));
  accounts_.take_used_tokens(rows);
  EXPECT_EQ(rows.size(), 1U) << "not worth a row";
  EXPECT_TRUE(accounts_.authenticate(token, Role::kAdmin, now_ + std::chrono::minutes(5)));
  accounts_.take_used_tokens(rows);
  EXPECT_EQ(rows.size(), 2U);
  EXPECT_EQ(accounts_.tokens().at(0).last_used, now_ + std::chrono::minutes(5));
}

TEST_F(AccountsTest, EntriesOfTheAuditLogGoOnWhereTheyWere) {
  AccountsSnapshot snapshot;
  snapshot.audit_count = 7;
  Accounts accounts(snapshot);
  admin_.token_id = 4;
  const AuditRow entry = accounts.audit(admin_, "job 1 was paused", now_);
  EXPECT_EQ(entry, (AuditRow{8, now_, admin_.account.id, 4, "job 1 was paused"}));
}

TEST_F(AccountsTest, DetachedHostIsRefused) {
  const HostSecretRow row{7, volunteers_.id, secret_hash("its-secret"), false};
  accounts_.add_host(row);
  EXPECT_EQ(accounts_.authenticate_host("its-secret").value().host_id, 7U);
  EXPECT_EQ(accounts_.hosts_of(volunteers_.id), std::vector<std::uint64_t>{7});
  accounts_.revoke_host(7);
  EXPECT_EQ(accounts_.authenticate_host("its-secret").error().code, Errc::kUnauthenticated);
  EXPECT_EQ(accounts_.authenticate_host("other").error().code, Errc::kUnauthenticated);
}

TEST_F(AccountsTest, NamesAreUniqueAndWellFormed) {
  EXPECT_EQ(accounts_.create_account("admin", Role::kAdmin, now_).error().code,
            Errc::kAlreadyExists);
  EXPECT_EQ(accounts_.create_account("a b", Role::kAdmin, now_).error().code,
            Errc::kInvalidArgument);
  EXPECT_EQ(accounts_.create_account("", Role::kAdmin, now_).error().code, Errc::kInvalidArgument);
}

TEST_F(AccountsTest, SnapshotBringsEverythingBackAndIdsGoOn) {
  const auto token = accounts_.create_token(admin_, 0, std::chrono::hours(1), now_).value();
  Accounts again(AccountsSnapshot{accounts_.accounts(), {token.row}, {}, {}});
  EXPECT_TRUE(again.authenticate(token.text, Role::kAdmin, now_));
  EXPECT_EQ(again.create_account("next", Role::kResearcher, now_).value().id, volunteers_.id + 1);
}

TEST(Secrets, AreLongAndDiffer) {
  EXPECT_EQ(make_secret("mht_").size(), 4U + 43U);
  EXPECT_NE(make_secret(""), make_secret(""));
  EXPECT_EQ(random_hex(8).size(), 16U);
}

}  // namespace
}  // namespace mh::server
