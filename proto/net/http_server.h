// The HTTP/1.1 server, plain or with TLS: Connect RPCs, blobs by digest, tus uploads and pages on
// one port.
//
//   accept -> session (one coroutine on its own strand) -> read and check the head -> route:
//     a path of the ServiceTable   Connect core -> awaitable handler -> reply
//     /blob/sha256/<hex>           BlobSource on the pool -> sendfile; with TLS in pieces
//     /upload, /upload/<id>        tus 1.0 -> UploadSink on the pool
//     a registered page            awaitable handler -> reply
// Every read and write has a deadline, every size and count a limit: HttpServerOptions.
// Beast and sockets stay in the .cpp files.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "proto/net/connect_core.h"
#include "proto/net/message.h"

namespace mh::net {

namespace asio = boost::asio;

/// Every limit and deadline of the server. The defaults suit a public server.
struct HttpServerOptions {
  // --- Sizes and counts ---
  /// Request line and header fields together, in bytes, and number of fields.
  std::size_t header_bytes_max = 16 * 1024;
  std::size_t header_fields_max = 64;
  /// Longest request target (Connect GET carries messages in it).
  std::size_t target_bytes_max = 8 * 1024;
  /// Open connections in all, and of one address (volunteers share addresses: be generous).
  std::size_t connections_max = 10'000;
  std::size_t connections_per_address_max = 2'000;
  /// Calls under way at a time, and of one address; above: `unavailable` with Retry-After.
  std::size_t calls_max = 8'000;
  std::size_t calls_per_address_max = 2'000;
  /// Request bodies, and the messages parsed from them, held in memory at a time, in bytes, all
  /// connections together.
  std::uint64_t body_bytes_in_flight_max = 256ull * 1024 * 1024;
  /// Uploads being received at a time.
  std::size_t uploads_max = 256;
  /// Largest single upload.
  std::uint64_t upload_bytes_max = 4ull << 30;
  /// Bytes of a refused body that are read and thrown away, so that the reply arrives.
  std::uint64_t drain_bytes_max = 1024 * 1024;
  /// Requests on one connection before it is closed.
  std::size_t requests_per_connection_max = 1'000'000;

  // --- Deadlines ---
  /// Wait for the first byte of the next request. Longer than the idle time of a proxy before us.
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(75);
  /// From the first byte of a head to its end.
  std::chrono::milliseconds header_timeout = std::chrono::seconds(10);
  /// A body: this plus its size over the rate.
  std::chrono::milliseconds body_timeout = std::chrono::seconds(5);
  std::uint64_t body_bytes_per_second_min = 16 * 1024;
  /// Writing a response: this plus its size over the rate.
  std::chrono::milliseconds write_timeout = std::chrono::seconds(30);
  /// Limit for a handler, and clamp of Connect-Timeout-Ms.
  std::chrono::milliseconds call_timeout_max = std::chrono::seconds(60);
  /// Reading the rest of a refused body.
  std::chrono::milliseconds drain_timeout = std::chrono::seconds(2);
  /// Age of a connection, shortened by up to a fifth at random, so that load spreads again.
  std::chrono::milliseconds connection_age_max = std::chrono::hours(1);
  /// stop() waits so long for requests under way.
  std::chrono::milliseconds stop_timeout = std::chrono::seconds(5);
  /// Wait after an accept that failed (no descriptors left).
  std::chrono::milliseconds accept_pause = std::chrono::milliseconds(75);

  int listen_backlog = 4096;

  // --- TLS ---
  /// PEM texts: the certificate with those that lead to its authority, and its key. Both empty:
  /// plain HTTP.
  std::string tls_certificate_pem;
  std::string tls_key_pem;
  /// For the handshake of a new connection.
  std::chrono::milliseconds handshake_timeout = std::chrono::seconds(10);
  /// The io executor runs on one thread: sessions need no strands, and a handler that runs on it,
  /// too, is reached without a detour.
  bool has_one_io_thread = false;
};

/// Methods and their handlers. Filled before the server starts, constant after.
class ServiceTable {
 public:
  /// Handlers take the context and the message by value and return a message or an Error. They run
  /// on the session's strand; they must not block. When nobody waits any more,
  /// `context.ended` is set, but the handler runs to its end: a commit is never cut in two.
  using AnyHandler = std::function<asio::awaitable<Result<std::unique_ptr<Message>>>(
      CallContext, std::unique_ptr<Message>)>;

  /// `services.add<GetJobRequest, GetJobResponse>("/manyhands.v1.JobService/GetJob",
  ///      [this](CallContext context, GetJobRequest request) {
  ///        return get_job(std::move(context), std::move(request)); });`
  /// The function returns asio::awaitable<Result<Response>>; it must not be a coroutine itself if
  /// it is a lambda with captures.
  template <class Request, class Response, class Handler>
  void add(std::string path, Handler handler, MethodOptions options = {});

  void add_any(std::string path, const Message& request_prototype, AnyHandler handler,
               MethodOptions options);

  const ConnectCore& core() const { return core_; }
  /// Requires: path was added.
  const AnyHandler& handler(const std::string& path) const;

 private:
  ConnectCore core_;
  std::map<std::string, AnyHandler, std::less<>> handlers_;
};

/// A blob opened for reading.
struct BlobFile {
  UniqueFd file;
  std::uint64_t bytes = 0;
};

/// Where blobs come from. Threads: called on the pool, several at a time.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  /// Errors: kNotFound.
  virtual Result<BlobFile> open(const Digest& digest) = 0;
};

/// Where an upload stands.
struct UploadState {
  /// Letters, digits and dashes.
  std::string id;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  /// When it will be dropped if nobody goes on; only told if set.
  TimePoint expires{};
  /// Whole, verified and published.
  bool is_complete = false;
  /// As announced; of a complete one as it is. Zero: not known yet.
  Digest digest;
};

/// Where uploads go. Threads: called on the pool, several at a time, never two of one upload.
class UploadSink {
 public:
  virtual ~UploadSink() = default;
  /// Starts an upload of `length` bytes whose SHA-256 is announced (zero: it is not, and the blob
  /// gets the name that its bytes have). A blob that is here already may be complete at once.
  /// Errors: kResourceExhausted (quota, disk), kInvalidArgument.
  virtual Result<UploadState> create(const std::string& owner, std::uint64_t length,
                                     const Digest& digest) = 0;
  /// An unfinished upload of the same blob by the same owner, to be gone on with where it stands.
  /// Errors: kNotFound (there is none: create() one).
  virtual Result<UploadState> resume(const std::string& /*owner*/, std::uint64_t /*length*/,
                                     const Digest& /*digest*/) {
    return fail(Errc::kNotFound, "uploads are not resumed here");
  }
  /// Errors: kNotFound (unknown, expired, or of another owner).
  virtual Result<UploadState> find(const std::string& owner, const std::string& id) = 0;
  /// Appends a piece at exactly `offset`; the last piece verifies the digest and publishes.
  /// Errors: kNotFound, kAborted (offset is elsewhere), kInvalidArgument (wrong digest: the upload
  /// is gone), kResourceExhausted.
  virtual Result<UploadState> append(const std::string& owner, const std::string& id,
                                     std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// The request has ended and the upload has not: from here on it must survive a restart. Until
  /// then a sink may keep it in memory only. Errors: kNotFound, kAborted, kResourceExhausted.
  virtual Status keep(const std::string& /*owner*/, const std::string& /*id*/) { return {}; }
  /// Takes back everything beyond `offset`: bytes that were sent with a wrong checksum, or whose
  /// checksum cannot be told because the rest did not come. Errors: kNotFound, kAborted (the upload
  /// does not reach that far, or an append is running), and those of the disk.
  virtual Status rewind(const std::string& owner, const std::string& id, std::uint64_t offset) = 0;
  /// Errors: kNotFound.
  virtual Status remove(const std::string& owner, const std::string& id) = 0;
};

/// Says who may upload: bearer token and peer address in, the owner's name (any text that stays the
/// same for this caller) or an Error out. Runs on the session's strand.
using UploadAuthorizer =
    std::function<asio::awaitable<Result<std::string>>(std::string bearer_token, std::string peer)>;

/// Told of blob bytes sent, with the bearer token that came along (may be empty; never log it).
/// Runs on the session's strand.
using DownloadObserver =
    std::function<void(std::string bearer_token, Digest blob, std::uint64_t bytes)>;

/// A GET page; HEAD is answered from it too. Runs on the session's strand.
using PageHandler = std::function<asio::awaitable<HttpResponse>(HttpRequest)>;

/// What the server has done so far; for metrics. Counts since start.
struct HttpServerStats {
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_refused = 0;
  std::uint64_t connections_open = 0;
  std::uint64_t requests = 0;
  std::uint64_t requests_refused = 0;
  std::uint64_t calls_open = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
};

/// The server. Set it up, start it, run the io_context; stop() before it is destroyed.
/// Threads: set up from one thread before start(); stats() from any thread.
class HttpServer {
 public:
  /// `io` runs the sessions (an io_context's executor, with one or more threads); `pool` runs what
  /// blocks on the disk. Both must outlive the server and its stop().
  HttpServer(asio::any_io_executor io, asio::any_io_executor pool, HttpServerOptions options = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  void set_services(ServiceTable services);
  void set_blobs(std::shared_ptr<BlobSource> blobs);
  void set_uploads(std::shared_ptr<UploadSink> sink, UploadAuthorizer authorizer);
  void set_download_observer(DownloadObserver observer);
  /// `path` is exact; a path that ends in '/' takes everything below it too.
  void add_page(std::string path, PageHandler handler);

  /// Listens and starts to accept. Port 0 takes a free one. Returns the port in use.
  /// Errors: kUnavailable (address in use, not allowed), kInvalidArgument (host is no address or
  /// name; certificate and key cannot be used).
  Result<std::uint16_t> start(const std::string& host, std::uint16_t port);

  /// Stops accepting, sets the signal of all calls, lets requests under way finish for at most
  /// stop_timeout, then closes everything. Returns when no session is left.
  asio::awaitable<void> stop();

  HttpServerStats stats() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

namespace detail {

template <class Response>
asio::awaitable<Result<std::unique_ptr<Message>>> erase_type(
    asio::awaitable<Result<Response>> answer) {
  Result<Response> response = co_await std::move(answer);
  if (!response.has_value()) co_return response.error();
  std::unique_ptr<Message> message = std::make_unique<Response>(*std::move(response));
  co_return message;
}

}  // namespace detail

template <class Request, class Response, class Handler>
void ServiceTable::add(std::string path, Handler handler, MethodOptions options) {
  static_assert(std::is_same_v<std::invoke_result_t<Handler&, CallContext, Request>,
                               asio::awaitable<Result<Response>>>);
  auto erased = [handler = std::move(handler)](CallContext context,
                                               std::unique_ptr<Message> message) mutable {
    auto& request = static_cast<Request&>(*message);
    return detail::erase_type<Response>(handler(std::move(context), std::move(request)));
  };
  add_any(std::move(path), Request::default_instance(), std::move(erased), options);
}

}  // namespace mh::net
