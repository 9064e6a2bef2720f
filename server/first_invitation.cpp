// See first_invitation.h.
#include "server/first_invitation.h"

#include <future>

#include "proto/base/file.h"

namespace mh::server {
namespace {

constexpr std::size_t kInvitationBytesMax = 256;

}  // namespace

Result<std::optional<NewInvitation>> open_first_invitation(const ServerFolder& folder, Store& store,
                                                           AccountsSnapshot& accounts,
                                                           TimePoint now) {
  const auto file = read_file(folder.invitation(), kInvitationBytesMax);
  if (!file) return std::optional<NewInvitation>();
  const std::string text = file->substr(0, file->find('\n'));
  Accounts known({accounts.accounts, {}, accounts.invitations, {}});
  if (const auto row = known.check_invitation(text, now))
    return std::optional<NewInvitation>(NewInvitation{*row, text});
  auto made = known.create_invitation(0, 0, std::chrono::seconds(0), now);
  if (!made) return std::optional<NewInvitation>();
  Transaction transaction;
  transaction.invitations = {made->row};
  std::promise<void> committed;
  store.commit(std::move(transaction), [&committed] { committed.set_value(); });
  committed.get_future().wait();
  MH_TRY_VOID(write_file_atomically(folder.invitation(), made->text + "\n", 0600));
  accounts.invitations.push_back(made->row);
  return std::optional<NewInvitation>(*std::move(made));
}

}  // namespace mh::server
