// See blob_access.h.
#include "server/blob_access.h"

#include <boost/asio/post.hpp>

#include "server/handler.h"

namespace mh::server {
namespace {

constexpr std::string_view kHostPrefix = "host:";

asio::awaitable<Result<std::string>> find_owner(Core& core, std::string token) {
  const auto host = core.accounts().authenticate_host(token);
  if (host) co_return std::string(kHostPrefix) + std::to_string(host->host_id);
  const auto caller = core.accounts().authenticate(token, Role::kAdmin, core.now());
  if (caller) co_return "account:" + std::to_string(caller->account.id);
  co_return caller.error();
}

}  // namespace

asio::awaitable<Result<std::string>> authorise_upload(Core& core, std::string token) {
  return run_on_strand<std::string>(core.strand(), find_owner(core, std::move(token)));
}

bool is_host_owner(std::string_view owner) { return owner.starts_with(kHostPrefix); }

void count_download(Core& core, std::string token, const Digest& blob, std::uint64_t bytes) {
  if (token.empty() || bytes == 0) return;
  asio::post(core.strand(), [&core, token = std::move(token), blob, bytes] {
    const auto host = core.accounts().authenticate_host(token);
    if (host) core.coordinator().count_download(HostId(host->host_id), blob, bytes);
  });
}

}  // namespace mh::server
