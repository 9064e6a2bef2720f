// GET and HEAD of blobs. The bytes go from the page cache to the socket by sendfile on the pool
// (the disk may block), the head in front of them in the same packet; with TLS they are read on the
// pool and encrypted on the session's strand. See http_session.h.
#include <pthread.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "proto/net/async.h"
#include "proto/net/connect_json.h"
#include "proto/net/http_range.h"
#include "proto/net/http_session.h"

namespace mh::net {
namespace {

// Sent in one go on the pool; then the session looks at its deadline and at being stopped.
constexpr std::uint64_t kPieceBytes = 1024 * 1024;

struct Sent {
  std::uint64_t file_bytes = 0;
  std::size_t head_bytes = 0;
  int error = 0;  // EAGAIN: the socket is full
};

// Unlike send(), sendfile() has no flag against the signal of a broken connection, which would end
// the program. Threads of the pool do without that signal.
void block_pipe_signal() {
  thread_local const int blocked = [] {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGPIPE);
    return ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }();
  static_cast<void>(blocked);
}

// As much of the head and of [begin, end) as the socket takes now, at most a piece.
Sent send_some(int socket, std::string_view head, int file, std::uint64_t begin,
               std::uint64_t end) {
  Sent sent;
  block_pipe_signal();
  while (sent.head_bytes < head.size()) {
    const auto rest = head.substr(sent.head_bytes);
    const int more = begin < end ? MSG_MORE : 0;
    const ssize_t count =
        ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT | more);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      sent.error = errno;
      return sent;
    }
    sent.head_bytes += static_cast<std::size_t>(count);
  }
  const std::uint64_t stop = std::min(end, begin + kPieceBytes);
  while (begin + sent.file_bytes < stop) {
    auto offset = static_cast<off_t>(begin + sent.file_bytes);
    const ssize_t count =
        ::sendfile(socket, file, &offset, static_cast<std::size_t>(stop - begin - sent.file_bytes));
    if (count < 0 && errno == EINTR) continue;
    // A file that ends early was damaged after it was opened.
    if (count <= 0) {
      sent.error = count < 0 ? errno : EIO;
      return sent;
    }
    sent.file_bytes += static_cast<std::uint64_t>(count);
  }
  return sent;
}

// Reads exactly `count` bytes; false if it cannot.
bool read_at(int file, std::span<char> out, std::uint64_t offset) {
  while (!out.empty()) {
    const ssize_t count = ::pread(file, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    offset += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

asio::awaitable<void> Session::serve_blob(std::string_view name) {
  HttpResponse refusal;
  const auto digest = Digest::from_hex(name);
  if (head_.request.method != "GET" && !is_head_request()) {
    refusal = plain_text_response(405, "blobs are read here; they are uploaded to /upload");
    refusal.headers.add("Allow", "GET, HEAD");
    co_await respond(std::move(refusal));
    co_return;
  }
  if (!digest.has_value()) {
    refusal = plain_text_response(404, "a blob's name is its SHA-256 in 64 lower-case hex digits");
    co_await respond(std::move(refusal));
    co_return;
  }
  const Digest wanted = *digest;
  auto open = [blobs = server_->blobs, wanted] { return blobs->open(wanted); };
  auto blob = co_await run_on(server_->pool, std::move(open));
  if (!blob.has_value()) {
    refusal = plain_text_response(status_of(blob.error().code), blob.error().message);
    co_await respond(std::move(refusal));
    co_return;
  }
  std::string etag = "\"" + wanted.hex() + "\"";
  BlobReply reply = plan_blob_reply(head_.request.headers, blob->bytes, etag);
  if (!may_keep_alive()) is_open_ = false;
  const bool is_kept = is_open_;
  std::string head = response_head_text(reply.head, reply.end - reply.begin, is_kept);
  if (is_head_request() || reply.begin == reply.end) {
    const ErrorCode error = co_await stream_->write(head, "", write_deadline(0));
    if (error) is_open_ = false;
    co_return;
  }
  std::uint64_t sent = 0;
  if (stream_->is_tls()) {
    sent = co_await send_file_by_tls(std::move(head), *std::move(blob), reply.begin, reply.end);
  } else {
    sent = co_await send_file(std::move(head), *std::move(blob), reply.begin, reply.end);
  }
  if (server_->download_observer && sent > 0) {
    std::string token = bearer_token_of(head_.request.headers);
    server_->download_observer(std::move(token), wanted, sent);
  }
}

asio::awaitable<std::uint64_t> Session::send_file(std::string head, BlobFile file,
                                                  std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t first = begin;
  const int socket = stream_->socket().native_handle();
  const auto shared_file = std::make_shared<UniqueFd>(std::move(file.file));
  ErrorCode error;
  stream_->socket().native_non_blocking(true, error);
  while (!error && !is_aborted_ && (!head.empty() || begin < end)) {
    // The stream keeps the descriptor open while the pool writes to it.
    auto work = [stream = stream_, socket, head, shared_file, begin, end] {
      return send_some(socket, head, shared_file->get(), begin, end);
    };
    const Sent sent = co_await run_on(server_->pool, std::move(work));
    begin += sent.file_bytes;
    head.erase(0, sent.head_bytes);
    stream_->add_bytes_sent(sent.file_bytes + sent.head_bytes);
    if (sent.error == EAGAIN) {
      // A caller that takes nothing in this time is too slow; each piece has a new deadline.
      const Deadline deadline = Clock::now() + server_->options.write_timeout;
      error = co_await stream_->wait_writable(deadline);
    } else if (sent.error != 0) {
      error = ErrorCode(sent.error, boost::system::system_category());
    }
  }
  if (error || is_aborted_) is_open_ = false;
  co_return begin - first;
}

asio::awaitable<std::uint64_t> Session::send_file_by_tls(std::string head, BlobFile file,
                                                         std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t first = begin;
  const auto shared_file = std::make_shared<UniqueFd>(std::move(file.file));
  const std::shared_ptr<char[]> piece = server_->take_piece();
  bool is_sent = true;
  while (is_sent && !is_aborted_ && begin < end) {
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(end - begin, kTransferPieceBytes));
    auto work = [piece, size, shared_file, begin] {
      return read_at(shared_file->get(), std::span(piece.get(), size), begin);
    };
    is_sent = co_await run_on(server_->pool, std::move(work));
    if (!is_sent) break;  // a file that ends early was damaged after it was opened
    const Deadline deadline = Clock::now() + server_->options.write_timeout;
    const std::string_view bytes(piece.get(), size);
    const ErrorCode error = co_await stream_->write(head, bytes, deadline);
    is_sent = !error;
    head.clear();
    if (is_sent) begin += size;
  }
  server_->give_piece(piece);
  if (!is_sent || is_aborted_) is_open_ = false;
  co_return begin - first;
}

}  // namespace mh::net
