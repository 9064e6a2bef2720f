// See handler.h.
#include "server/handler.h"

#include <algorithm>

namespace mh::server {
namespace {

// Longest hold of a call that waits for work or for news (docs/protocol.md, Limits).
constexpr std::chrono::milliseconds kHoldMax{25'000};
// Left of the caller's own time limit when a held call is answered.
constexpr std::chrono::milliseconds kAnswerMargin{250};

constexpr int kRetryAfterSeconds = 1;

}  // namespace

Error too_busy(net::ResponseMetadata& metadata) {
  metadata.headers.add("Retry-After", std::to_string(kRetryAfterSeconds));
  return fail(Errc::kUnavailable, "the server's disk is behind: try again in a second");
}

std::chrono::milliseconds hold_time(const net::CallContext& context, std::uint32_t wanted_ms) {
  const auto hold = std::min(std::chrono::milliseconds(wanted_ms), kHoldMax);
  return context.timeout ? std::min(hold, *context.timeout - kAnswerMargin) : hold;
}

Transaction audited(Core& core, const Caller& caller, std::string action) {
  Transaction transaction;
  transaction.audit.push_back(core.accounts().audit(caller, std::move(action), core.now()));
  return transaction;
}

Status check_disk(const Core& core, const net::CallContext& context, Needs needs) {
  Status writable;
  if (needs == Needs::kStore) writable = core.disk().check_store();
  if (needs == Needs::kRoom) writable = core.disk().check_room();
  if (!writable) {
    context.response->headers.add("Retry-After", std::to_string(DiskWatch::kRetryAfter.count()));
  }
  return writable;
}

Error no_such_job(std::uint64_t id) {
  return fail(Errc::kNotFound,
              "there is no job " + std::to_string(id) + " ('manyhands job list' shows all)");
}

}  // namespace mh::server
