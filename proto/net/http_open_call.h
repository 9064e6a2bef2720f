// A handler under way. Shared by the session that waits for it, by the handler's end and by what
// watches the caller; whoever comes last destroys it. Only for proto/net/http_*.cpp.
// Threads: the session's strand.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>

#include "proto/net/connect_core.h"

namespace mh::net {

struct OpenCall {
  OpenCall(const boost::asio::any_io_executor& executor, std::shared_ptr<CallSignal> signal)
      : wake(executor), look(executor), ended(std::move(signal)) {}

  /// Tells the handler that nobody waits any more.
  void end() { ended->set(); }
  /// The same, and the session does not wait for it either.
  void abandon() {
    is_abandoned = true;
    ended->set();
    wake.cancel();
  }
  /// The handler has ended.
  void finish(Result<std::unique_ptr<Message>> result) {
    outcome.emplace(std::move(result));
    wake.cancel();
  }

  /// What the session sleeps on; set to the call's deadline.
  boost::asio::steady_timer wake;
  /// Paces the looks at a caller that has sent more bytes.
  boost::asio::steady_timer look;
  const std::shared_ptr<CallSignal> ended;
  std::optional<Result<std::unique_ptr<Message>>> outcome;
  bool is_abandoned = false;
  /// The session has stopped waiting: no more looking at the caller.
  bool is_over = false;
};

}  // namespace mh::net
