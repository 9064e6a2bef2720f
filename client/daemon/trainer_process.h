// The trainer as a child process: its own process group, lowest priority, killed with the daemon
// however that ends (PDEATHSIG, and the end of its standard input). Frames go in and out; what it
// writes to standard error comes as lines. It has no other descriptor, so no terminal either.
// Threads: the io_context's one thread; handlers are called on it.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/daemon/trainer_messages.h"

namespace mh::client {

struct TrainerCommand {
  std::filesystem::path program;
  std::vector<std::string> arguments;
  /// Variables that it gets beside those of this process, or instead of theirs.
  std::vector<std::pair<std::string, std::string>> environment = {};
  /// Added to this process's niceness; 19 is the lowest priority.
  int nice_increment = 19;
  /// Also run only when nothing else wants the CPU (SCHED_IDLE).
  bool is_idle_class = false;
};

struct TrainerHandlers {
  std::function<void(TrainerMessage)> on_message;
  /// A line of its standard error, fit for a terminal; not more than trainer_talk.h allows.
  std::function<void(const std::string& line)> on_text = nullptr;
  /// Called once, after the last message; how: "exit code 1: its last line", "signal 9 (Killed)",
  /// what it sent.
  std::function<void(std::string how)> on_ended;
};

class TrainerProcess {
 public:
  /// Errors: kInternal (fork), kNotFound, kPermissionDenied (the program cannot be executed).
  static Result<TrainerProcess> start(boost::asio::any_io_executor executor,
                                      const TrainerCommand& command, TrainerHandlers handlers);
  TrainerProcess(TrainerProcess&&) noexcept;
  TrainerProcess& operator=(TrainerProcess&&) noexcept;
  /// Kills the process group; no handler is called any more.
  ~TrainerProcess();

  /// Queues a frame (trainer_messages.h). A process that has ended swallows it.
  void send(std::string frame);
  /// Kills it as if it had crashed: on_ended is called. For a trainer that hangs.
  void kill();
  /// From now on it can write no file larger than this: itself and its descendants, as far as they
  /// are known (where /proc does not tell children, what it was started with remains).
  void limit_file_size(std::uint64_t bytes);
  int pid() const;

 private:
  struct Impl;
  explicit TrainerProcess(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace mh::client
