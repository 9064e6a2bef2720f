// See control_socket.h.
#include "client/daemon/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <nlohmann/json.hpp>

#include "proto/base/bytes.h"
#include "proto/base/file.h"

namespace mh::client {
namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::local::stream_protocol;
namespace {

constexpr std::size_t kRequestBytesMax = 4096;
constexpr int kConnectionCountMax = 16;
constexpr auto kConnectionTime = std::chrono::seconds(5);
constexpr long kAskSeconds = 10;

// Socket addresses hold 107 bytes; a longer path goes through a descriptor of its folder.
struct SocketPath {
  UniqueFd folder;
  std::string text;
};

SocketPath short_path(const fs::path& socket) {
  if (socket.string().size() < sizeof(sockaddr_un::sun_path)) return {UniqueFd(), socket.string()};
  UniqueFd folder(::open(socket.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string text =
      "/proc/self/fd/" + std::to_string(folder.get()) + "/" + socket.filename().string();
  return {std::move(folder), std::move(text)};
}

}  // namespace

struct ControlServer::Impl {
  Impl(asio::any_io_executor executor, fs::path the_path, Answer the_answer)
      : path(std::move(the_path)), answer(std::move(the_answer)), acceptor(executor) {}

  const fs::path path;
  Answer answer;
  stream_protocol::acceptor acceptor;
  int connection_count = 0;

  static asio::awaitable<void> accept_all(std::shared_ptr<Impl> self) {
    boost::system::error_code error;
    const auto executor = self->acceptor.get_executor();
    while (self->acceptor.is_open()) {
      auto token = asio::redirect_error(asio::use_awaitable, error);
      stream_protocol::socket socket = co_await self->acceptor.async_accept(token);
      if (error == asio::error::operation_aborted) co_return;
      if (error) {
        asio::steady_timer pause(executor, std::chrono::milliseconds(100));
        co_await pause.async_wait(token);
        continue;
      }
      if (self->connection_count >= kConnectionCountMax) continue;
      asio::co_spawn(executor, serve(self, std::move(socket)), asio::detached);
    }
  }

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, stream_protocol::socket accepted) {
    ++self->connection_count;
    // Shared with the deadline, whose handler may run after this coroutine has ended.
    const auto shared = std::make_shared<stream_protocol::socket>(std::move(accepted));
    stream_protocol::socket& socket = *shared;
    asio::steady_timer deadline(socket.get_executor(), kConnectionTime);
    deadline.async_wait([shared](boost::system::error_code cancelled) {
      boost::system::error_code ignored;
      if (!cancelled) shared->close(ignored);
    });
    std::string line;
    boost::system::error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    auto buffer = asio::dynamic_buffer(line, kRequestBytesMax);
    co_await asio::async_read_until(socket, buffer, '\n', token);
    if (!error) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      const bool is_request = json.is_object() && json.contains("verb") && json["verb"].is_string();
      std::string reply = is_request
                              ? self->answer(json["verb"].get<std::string>())
                              : R"({"ok":false,"error":"a request is {\"verb\":\"…\"} in a line"})";
      reply += '\n';
      const auto bytes = asio::buffer(reply);
      co_await asio::async_write(socket, bytes, token);
    }
    deadline.cancel();
    --self->connection_count;
  }
};

Result<ControlServer> ControlServer::start(asio::any_io_executor executor, fs::path socket,
                                           Answer answer) {
  const SocketPath path = short_path(socket);
  auto impl = std::make_shared<Impl>(executor, socket, std::move(answer));
  ::unlink(socket.c_str());
  boost::system::error_code error;
  impl->acceptor.open(stream_protocol(), error);
  if (!error) impl->acceptor.bind(stream_protocol::endpoint(path.text), error);
  if (!error) impl->acceptor.listen(kConnectionCountMax, error);
  if (error)
    return fail(Errc::kInternal, "cannot listen on " + socket.string() + ": " + error.message());
  ::chmod(socket.c_str(), 0600);
  asio::co_spawn(executor, Impl::accept_all(impl), asio::detached);
  return ControlServer(std::move(impl));
}

ControlServer::ControlServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::ControlServer(ControlServer&&) noexcept = default;

ControlServer::~ControlServer() {
  if (!impl_) return;
  boost::system::error_code ignored;
  impl_->acceptor.close(ignored);
  ::unlink(impl_->path.c_str());
}

Result<std::string> ask_daemon(const fs::path& socket, const std::string& verb) {
  const SocketPath path = short_path(socket);
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.is_open()) return errno_error("cannot make a socket for", socket, errno);
  const timeval limit{.tv_sec = kAskSeconds, .tv_usec = 0};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.text.c_str(), path.text.size() + 1);
  if (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
      return fail(Errc::kNotFound, "no client is running in " + socket.parent_path().string() +
                                       ": start it with 'manyhands-client run'");
    return errno_error("cannot connect to", socket, errno);
  }
  const nlohmann::json request = {{"verb", verb}};
  const std::string line = request.dump() + "\n";
  MH_TRY_VOID(write_all(connection.get(), as_bytes(line), socket));
  std::string reply;
  char bytes[4096];
  while (reply.size() < kControlLineBytesMax && !reply.ends_with('\n')) {
    const ssize_t count = ::recv(connection.get(), bytes, sizeof bytes, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return fail(Errc::kDeadlineExceeded,
                  "the client did not answer within " + std::to_string(kAskSeconds) + " s");
    if (count <= 0) break;
    reply.append(bytes, static_cast<std::size_t>(count));
  }
  if (reply.empty() || reply.back() != '\n')
    return fail(Errc::kInternal, "the client ended without an answer");
  reply.pop_back();
  return reply;
}

}  // namespace mh::client
