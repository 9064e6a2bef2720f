// The invitation in the join line that a server prints at its start. Threads: one, before anything
// is served; blocks on the disk.
#pragma once

#include <optional>

#include "server/accounts.h"
#include "server/server_folder.h"
#include "server/store.h"

namespace mh::server {

// That of the folder's file, or a new one in its place where it has expired or is used up. A new
// one is committed and added to `accounts`. Nothing: an admin has put the file away, and wants
// none. Errors: kInternal, kResourceExhausted (the file cannot be written).
Result<std::optional<NewInvitation>> open_first_invitation(const ServerFolder& folder, Store& store,
                                                           AccountsSnapshot& accounts,
                                                           TimePoint now);

}  // namespace mh::server
