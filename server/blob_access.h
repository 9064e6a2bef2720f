// Who may upload, and on whose account a download counts.
// Threads: the state strand.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "server/core.h"

namespace mh::server {

// The owner of uploads made with this token: "host:12" for a host's secret, "account:1" for an
// admin's token. Errors: kUnauthenticated, kPermissionDenied.
asio::awaitable<Result<std::string>> authorise_upload(Core& core, std::string token);

// True for an owner that is a host.
bool is_host_owner(std::string_view owner);

// Counts a download for the host whose secret came with it, if any. May be called on any thread.
void count_download(Core& core, std::string token, const Digest& blob, std::uint64_t bytes);

}  // namespace mh::server
