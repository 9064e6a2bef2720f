// How the verbs (status, pause, …) talk to the running daemon: a Unix socket in the client's
// folder, one line of JSON each way, then the connection is closed.
//   request: {"verb":"pause"}     reply: {"ok":true, …} or {"ok":false,"error":"…"}
// The folder is private (0700): who can connect is the volunteer.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "proto/base/result.h"

namespace mh::client {

inline constexpr std::size_t kControlLineBytesMax = 1024 * 1024;

/// Answers verbs. Threads: the io_context's one thread.
class ControlServer {
 public:
  /// `answer` gets the verb and returns the JSON of the reply.
  using Answer = std::function<std::string(const std::string& verb)>;

  /// Replaces a socket that a killed daemon left. Requires: the folder's lock is held.
  static Result<ControlServer> start(boost::asio::any_io_executor executor,
                                     std::filesystem::path socket, Answer answer);
  ControlServer(ControlServer&&) noexcept;
  ControlServer& operator=(ControlServer&&) = delete;
  /// Closes and removes the socket.
  ~ControlServer();

 private:
  struct Impl;
  explicit ControlServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

/// Asks the daemon and waits for its reply, at most 10 s. Threads: any; blocks.
/// Errors: kNotFound (no daemon runs there), kDeadlineExceeded, kInternal.
Result<std::string> ask_daemon(const std::filesystem::path& socket, const std::string& verb);

}  // namespace mh::client
