// See trainer_process.h.
#include "client/daemon/trainer_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <deque>
#include <fstream>

#include "client/daemon/trainer_talk.h"
#include "proto/base/file.h"

namespace mh::client {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kReadBytes = 16 * 1024;
// It answers each frame with one, and tells its progress twice a second.
constexpr double kFramesMax = 1024;
constexpr double kFramesPerSecond = 16;
constexpr double kFramesForOne = 4;
constexpr std::chrono::milliseconds kEndGrace(500);

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("cannot make", "a pipe", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// The trainer's ends of its pipes.
struct Ends {
  int input;
  int output;
  int text;
};

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become_trainer(const TrainerCommand& command, char* const* arguments,
                                 char* const* environment, const Ends& ends, int error_pipe,
                                 pid_t parent) {
  ::setpgid(0, 0);
  // The trainer must not outlive the daemon, even if that is killed with kill -9.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(ends.input, STDIN_FILENO);
  ::dup2(ends.output, STDOUT_FILENO);
  ::dup2(ends.text, STDERR_FILENO);
  // What the daemon has open (connections of the control socket among them) is not the trainer's.
  ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  if (command.nice_increment > 0 && ::nice(command.nice_increment) == -1) errno = 0;
  if (command.is_idle_class) {
    sched_param parameters{};
    ::sched_setscheduler(0, SCHED_IDLE, &parameters);
  }
  ::execve(arguments[0], arguments, environment);
  const int problem = errno;
  if (::write(error_pipe, &problem, sizeof problem) < 0) ::_exit(126);
  ::_exit(127);
}

// This process's environment with the command's own variables, as "name=value".
std::vector<std::string> environment_of(const TrainerCommand& command) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    const bool is_replaced = std::any_of(command.environment.begin(), command.environment.end(),
                                         [&](const auto& own) { return own.first == name; });
    if (!is_replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string describe_end(int status) {
  if (WIFEXITED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
  if (!WIFSIGNALED(status)) return "status " + std::to_string(status);
  const int signal_number = WTERMSIG(status);
  const char* name = ::sigdescr_np(signal_number);
  return "signal " + std::to_string(signal_number) +
         (name == nullptr ? "" : std::string(" (") + name + ")");
}

}  // namespace

struct TrainerProcess::Impl : std::enable_shared_from_this<TrainerProcess::Impl> {
  Impl(asio::any_io_executor executor, TrainerHandlers the_handlers)
      : handlers(std::move(the_handlers)),
        input(executor),
        output(executor),
        text(executor),
        process(executor),
        grace(executor) {}

  // Constant after start().
  TrainerHandlers handlers;
  pid_t pid = 0;
  // On the one thread.
  asio::posix::stream_descriptor input;    // the trainer's stdin
  asio::posix::stream_descriptor output;   // the trainer's stdout
  asio::posix::stream_descriptor text;     // the trainer's stderr
  asio::posix::stream_descriptor process;  // pidfd
  asio::steady_timer grace;
  Allowance frames{kFramesMax, kFramesPerSecond};
  TrainerText said;
  std::deque<std::string> queue;
  std::string problem;
  bool is_writing = false;
  bool is_muted = false;
  bool is_reaped = false;
  bool is_drained = false;
  int wait_status = 0;

  void kill_group() {
    // The pid is ours until it has been reaped; afterwards nothing of the group may remain anyway.
    if (!is_reaped) ::kill(-pid, SIGKILL);
  }

  static asio::awaitable<void> read_all(std::shared_ptr<Impl> self) {
    FrameCutter cutter;
    std::array<char, kReadBytes> bytes;
    boost::system::error_code error;
    while (self->problem.empty()) {
      auto token = asio::redirect_error(asio::use_awaitable, error);
      const auto buffer = asio::buffer(bytes);
      const std::size_t count = co_await self->output.async_read_some(buffer, token);
      if (error) break;
      cutter.add(std::string_view(bytes.data(), count));
      self->take_frames(cutter);
    }
    // Whoever closed its stdout or sent nonsense is of no more use. One that is just ending gets
    // the time to: in the sandbox its end is told by the process that waits for it.
    if (self->problem.empty() && !self->is_reaped) {
      self->grace.expires_after(kEndGrace);
      auto token = asio::redirect_error(asio::use_awaitable, error);
      co_await self->grace.async_wait(token);
    }
    self->kill_group();
    self->is_drained = true;
    self->end_if_over();
  }

  // Ends with the pipe; a line more or less after the end is of no importance.
  static asio::awaitable<void> read_text(std::shared_ptr<Impl> self) {
    std::array<char, kReadBytes> bytes;
    boost::system::error_code error;
    while (true) {
      auto token = asio::redirect_error(asio::use_awaitable, error);
      const auto buffer = asio::buffer(bytes);
      const std::size_t count = co_await self->text.async_read_some(buffer, token);
      if (error) co_return;
      const std::string_view read(bytes.data(), count);
      for (const std::string& line : self->said.add(read, std::chrono::steady_clock::now())) {
        if (!self->is_muted && self->handlers.on_text) self->handlers.on_text(line);
      }
    }
  }

  void take_frames(FrameCutter& cutter) {
    while (problem.empty()) {
      auto frame = cutter.next();
      if (frame.has_value() && !frame->has_value()) return;
      if (!frames.take(1, std::chrono::steady_clock::now())) {
        problem = "the trainer sent more messages than it was asked for";
        return;
      }
      auto message = frame.has_value() ? parse_trainer_message(**frame)
                                       : Result<TrainerMessage>(frame.error());
      if (!message.has_value()) {
        problem = message.error().message;
        return;
      }
      if (!is_muted) handlers.on_message(*std::move(message));
    }
  }

  static asio::awaitable<void> reap(std::shared_ptr<Impl> self) {
    boost::system::error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await self->process.async_wait(asio::posix::stream_descriptor::wait_read, token);
    ::kill(-self->pid, SIGKILL);  // What it may have started.
    while (::waitpid(self->pid, &self->wait_status, 0) < 0 && errno == EINTR) {
    }
    self->is_reaped = true;
    self->grace.cancel();
    self->end_if_over();
  }

  void end_if_over() {
    if (!is_reaped || !is_drained) return;
    boost::system::error_code ignored;
    input.close(ignored);
    // What has been read of its last words already is on its way to read_text().
    asio::post(input.get_executor(), [self = shared_from_this()] { self->tell_end(); });
  }

  void tell_end() {
    if (is_muted) return;
    drain_text();
    is_muted = true;
    std::string how = problem.empty() ? describe_end(wait_status) : problem;
    const bool has_failed = !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;
    if (const std::string last = said.last_line(); problem.empty() && has_failed && !last.empty())
      how += ": " + last;
    handlers.on_ended(std::move(how));
  }

  // What it wrote just before its end and nobody has read yet. Its descriptor does not block.
  void drain_text() {
    std::array<char, kReadBytes> bytes;
    boost::system::error_code error;
    const std::size_t count = text.is_open() ? text.read_some(asio::buffer(bytes), error) : 0;
    if (error) return;
    const std::string_view read(bytes.data(), count);
    for (const std::string& line : said.add(read, std::chrono::steady_clock::now())) {
      if (handlers.on_text) handlers.on_text(line);
    }
  }

  static asio::awaitable<void> write_all(std::shared_ptr<Impl> self) {
    boost::system::error_code error;
    while (!self->queue.empty() && !error) {
      const std::string frame = std::move(self->queue.front());
      self->queue.pop_front();
      auto token = asio::redirect_error(asio::use_awaitable, error);
      const auto buffer = asio::buffer(frame);
      co_await asio::async_write(self->input, buffer, token);
    }
    self->is_writing = false;
  }
};

Result<TrainerProcess> TrainerProcess::start(asio::any_io_executor executor,
                                             const TrainerCommand& command,
                                             TrainerHandlers handlers) {
  MH_TRY(Pipe input, make_pipe());
  MH_TRY(Pipe output, make_pipe());
  MH_TRY(Pipe text, make_pipe());
  MH_TRY(Pipe problem, make_pipe());
  // Everything that allocates comes before the fork.
  std::vector<std::string> words = {command.program.string()};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  const std::vector<char*> arguments = pointers_to(words);
  std::vector<std::string> variables = environment_of(command);
  const std::vector<char*> environment = pointers_to(variables);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("cannot fork for", command.program, errno);
  if (pid == 0)
    become_trainer(command, arguments.data(), environment.data(),
                   {input.read_end.get(), output.write_end.get(), text.write_end.get()},
                   problem.write_end.get(), parent);
  ::setpgid(pid, pid);  // Both sides do it: whichever comes first.
  problem.write_end.reset();
  int error_number = 0;
  if (::read(problem.read_end.get(), &error_number, sizeof error_number) > 0) {
    ::waitpid(pid, nullptr, 0);
    return errno_error("cannot start the trainer", command.program, error_number);
  }
  // glibc 2.36 declares pidfd_open() with C++ linkage, so the call is made by number.
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process.is_open()) {
    const int why = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return errno_error("cannot watch the trainer", command.program, why);
  }
  auto impl = std::make_shared<Impl>(executor, std::move(handlers));
  impl->pid = pid;
  impl->input.assign(input.write_end.release());
  impl->output.assign(output.read_end.release());
  impl->text.assign(text.read_end.release());
  impl->text.non_blocking(true);
  impl->process.assign(process.release());
  asio::co_spawn(executor, Impl::read_all(impl), asio::detached);
  asio::co_spawn(executor, Impl::read_text(impl), asio::detached);
  asio::co_spawn(executor, Impl::reap(impl), asio::detached);
  return TrainerProcess(std::move(impl));
}

TrainerProcess::TrainerProcess(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
TrainerProcess::TrainerProcess(TrainerProcess&&) noexcept = default;
TrainerProcess& TrainerProcess::operator=(TrainerProcess&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

TrainerProcess::~TrainerProcess() {
  if (!impl_) return;
  impl_->is_muted = true;
  impl_->kill_group();
}

void TrainerProcess::send(std::string frame) {
  if (impl_->is_drained) return;
  impl_->frames.add(kFramesForOne);
  impl_->queue.push_back(std::move(frame));
  if (std::exchange(impl_->is_writing, true)) return;
  const auto executor = impl_->input.get_executor();
  asio::co_spawn(executor, Impl::write_all(impl_), asio::detached);
}

void TrainerProcess::limit_file_size(std::uint64_t bytes) {
  // Launcher, first process, trainer: each the only child of the one before.
  constexpr int kDepthMax = 3;
  pid_t process = impl_->pid;
  for (int depth = 0; depth < kDepthMax && process > 0; ++depth) {
    rlimit limit{};
    if (::prlimit(process, RLIMIT_FSIZE, nullptr, &limit) != 0) return;
    limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
    ::prlimit(process, RLIMIT_FSIZE, &limit, nullptr);
    const std::string text = std::to_string(process);
    process = 0;
    std::ifstream("/proc/" + text + "/task/" + text + "/children") >> process;
  }
}

void TrainerProcess::kill() { impl_->kill_group(); }

int TrainerProcess::pid() const { return impl_->pid; }

}  // namespace mh::client
