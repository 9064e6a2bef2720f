// The HTTP/1.1 client of daemons and of the command line, plain or with TLS: Connect calls, blob
// downloads that resume and are verified, tus uploads that resume. Two faces of one thing:
// HttpClient (coroutines, for daemons) and BlockingClient (for command lines). One kept-alive
// connection per object; one request at a time (a second waits for the first). A kept-alive
// connection that turns out dead before any byte of the reply is replaced once. Beast and sockets
// stay in the .cpp file.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "proto/net/connect_client.h"
#include "proto/net/url.h"

namespace mh::net {

namespace asio = boost::asio;

/// Limits and deadlines of a client.
struct HttpClientOptions {
  /// Sent as "Authorization: Bearer …" with every request; empty: none.
  std::string bearer_token;
  std::string user_agent = "manyhands";
  /// For https: PEM text of the authorities (or self-signed certificates) to trust instead of the
  /// system's; empty: the system's.
  std::string tls_trusted_pem;
  /// For https: of the server's key (certificate.h); it then decides alone whether this is the
  /// server. A refusal by it ends with `tls_advice`: what the user should do then.
  std::optional<Digest> tls_fingerprint;
  std::string tls_advice;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(10);
  /// Between the last byte sent and the head of the reply, for blobs and uploads.
  std::chrono::milliseconds reply_timeout = std::chrono::seconds(30);
  /// Bulk transfers must move at least one piece (up to 1 MiB) in this time.
  std::chrono::milliseconds piece_timeout = std::chrono::seconds(30);
  std::size_t header_bytes_max = 16 * 1024;
  /// Bulk transfers go on after a cut so many times in a row without progress.
  std::uint32_t resume_count_max = 4;
  /// Uploads up to this size go in one request (creation-with-upload), larger ones are created
  /// first and then sent in PATCH requests, so that a cut loses nothing.
  std::uint64_t single_request_bytes_max = 16 * 1024 * 1024;
};

/// What a transfer moved. A blob that was there already moves nothing.
struct TransferReport {
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_moved = 0;
};

/// Called as a transfer goes on, with bytes done and in all; keep it short.
using TransferProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct DownloadOptions {
  /// Larger blobs are refused before a byte is written.
  std::uint64_t bytes_max = 4ull << 30;
  /// fsync file and folder before success is told.
  bool durable = false;
  TransferProgress progress;
};

/// Coroutine client. Errors of all calls: what the server said; kUnavailable (cannot connect, its
/// certificate is not to be trusted, cut connection), kDeadlineExceeded, kDataLoss (digest
/// differs), kResourceExhausted (over a limit), kUnknown (not an answer of a Manyhands server).
/// Threads: one executor; all calls from coroutines on it. The object must outlive its calls.
class HttpClient {
 public:
  HttpClient(asio::any_io_executor executor, Url server, HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// One Connect call: `co_await client.call<GetJobResponse>(method, request)`, with `method` like
  /// "/manyhands.v1.JobService/GetJob".
  template <class Response, class Request>
  asio::awaitable<Result<Response>> call(std::string method, Request request,
                                         CallOptions options = {}) {
    Response response;
    MH_CO_TRY_VOID(
        co_await call_message(std::move(method), &request, &response, std::move(options), nullptr));
    co_return response;
  }

  /// The call with types erased. `request`, `response` and `metadata` (may be null) must live until
  /// it returns.
  asio::awaitable<Status> call_message(std::string method, const Message* request,
                                       Message* response, CallOptions options,
                                       ReplyMetadata* metadata);

  /// Any request, for pages; the path of the URL is put before the target.
  /// Errors: as above; a status of 400 and more is no error here.
  asio::awaitable<Result<HttpResponse>> exchange(HttpRequest request,
                                                 std::chrono::milliseconds timeout,
                                                 std::uint64_t response_bytes_max);

  /// Fetches a blob into `target`: written to `target`.part (which a cut leaves for the next try),
  /// verified, then renamed. The folder must exist.
  asio::awaitable<Result<TransferReport>> download(Digest digest, std::filesystem::path target,
                                                   DownloadOptions options = {});
  /// Fetches a small blob into memory, verified.
  asio::awaitable<Result<std::string>> fetch(Digest digest, std::uint64_t bytes_max);

  /// Uploads a file whose digest is known; returns when the server has published the blob.
  asio::awaitable<Result<TransferReport>> upload(std::filesystem::path file, Digest digest,
                                                 TransferProgress progress = {});
  /// Uploads bytes from memory.
  asio::awaitable<Result<TransferReport>> upload_bytes(std::string content, Digest digest);

  /// Changes the token of the requests to come.
  void set_bearer_token(std::string token);
  const Url& server() const;
  /// Closes the connection; calls under way fail with kCanceled.
  void close();
  /// Bytes over the wire since the start, both ways.
  std::uint64_t bytes_sent() const;
  std::uint64_t bytes_received() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

/// The same for programs without coroutines: each call runs its own event loop until it is done.
/// Threads: one.
class BlockingClient {
 public:
  explicit BlockingClient(Url server, HttpClientOptions options = {});
  ~BlockingClient();
  BlockingClient(const BlockingClient&) = delete;
  BlockingClient& operator=(const BlockingClient&) = delete;

  template <class Response, class Request>
  Result<Response> call(const std::string& method, const Request& request,
                        CallOptions options = {}) {
    Response response;
    MH_TRY_VOID(call_message(method, request, response, std::move(options)));
    return response;
  }
  Status call_message(const std::string& method, const Message& request, Message& response,
                      CallOptions options = {}, ReplyMetadata* metadata = nullptr);

  Result<HttpResponse> exchange(HttpRequest request, std::chrono::milliseconds timeout,
                                std::uint64_t response_bytes_max);
  Result<TransferReport> download(const Digest& digest, const std::filesystem::path& target,
                                  DownloadOptions options = {});
  Result<std::string> fetch(const Digest& digest, std::uint64_t bytes_max);
  Result<TransferReport> upload(const std::filesystem::path& file, const Digest& digest,
                                TransferProgress progress = {});
  Result<TransferReport> upload_bytes(std::string content, const Digest& digest);

  const Url& server() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mh::net
