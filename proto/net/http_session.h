// One connection of the server: reads heads, checks them, routes, answers, until it is closed.
//   http_session.cpp  the loop, the head, routing, replies and refusals
//   http_calls.cpp    Connect calls and pages: bodies in memory, handlers, the callers that go away
//   http_blobs.cpp    GET and HEAD of blobs
//   http_uploads.cpp  tus
// Threads: everything on the session's strand; handlers of calls run there, too.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proto/net/http_head.h"
#include "proto/net/http_server_impl.h"
#include "proto/net/http_stream.h"
#include "proto/net/upload_headers.h"

namespace mh::net {

/// A handler under way, shared by the session, the handler's end and what watches the caller.
struct OpenCall;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<HttpServer::Impl> server, asio::ip::tcp::socket socket,
          std::string peer_address, std::shared_ptr<AddressUse> address);
  ~Session();

  /// Serves until the connection ends.
  static asio::awaitable<void> run(std::shared_ptr<Session> self);

  // From any thread:
  /// Ends after the request under way, at once if there is none.
  void stop();
  /// Ends now.
  void abort();
  /// Ends the upload that is being received; what has arrived is kept.
  void interrupt_upload();

 private:
  using Clock = HttpStream::Clock;
  using Deadline = HttpStream::Deadline;
  using ErrorCode = HttpStream::ErrorCode;
  /// A body held in memory, or the answer to its lack.
  using BodyOrRefusal = std::variant<std::string, HttpResponse>;

  // --- http_session.cpp ---
  asio::awaitable<void> serve();
  asio::awaitable<void> accept_tls();
  asio::awaitable<void> serve_request();
  /// Length of the head in the buffer; 0 if there is none to serve.
  asio::awaitable<std::size_t> read_head();
  asio::awaitable<void> refuse_head(int status, std::string why);
  asio::awaitable<void> route();
  /// Answers, and closes if a body is left unread that is too long to be skipped.
  asio::awaitable<void> respond(HttpResponse response);
  /// Answers, then closes. What still arrives is read for a while, so that the answer gets through.
  asio::awaitable<void> refuse(HttpResponse response);
  asio::awaitable<void> send(const HttpResponse& response);
  asio::awaitable<bool> send_continue();
  /// Reads and drops what is left of the body. False: it was too much or too slow.
  asio::awaitable<bool> skip_body();
  asio::awaitable<void> linger();
  bool may_keep_alive() const;
  /// What so many bytes may take at the lowest rate.
  std::chrono::milliseconds time_for(std::uint64_t bytes) const;
  Deadline write_deadline(std::uint64_t bytes) const;
  Deadline body_deadline(std::uint64_t bytes) const;
  bool is_head_request() const { return head_.request.method == "HEAD"; }

  // --- http_calls.cpp ---
  asio::awaitable<void> serve_call(const MethodInfo* method);
  asio::awaitable<BodyOrRefusal> receive_call(const MethodInfo* method);
  asio::awaitable<BodyOrRefusal> read_body(std::uint64_t bytes_max);
  asio::awaitable<BodyOrRefusal> read_chunked_body(std::uint64_t bytes_max);
  asio::awaitable<void> run_call(DecodedCall call, std::shared_ptr<CallSlot> slot);
  asio::awaitable<void> wait_for_outcome(std::shared_ptr<OpenCall> open, Deadline deadline);
  void watch_caller(const std::shared_ptr<OpenCall>& call);
  void look_at_caller(const std::shared_ptr<OpenCall>& call);
  asio::awaitable<void> serve_page(const PageHandler* page);

  // --- http_blobs.cpp ---
  asio::awaitable<void> serve_blob(std::string_view name);
  /// Returns the bytes of the file that were sent.
  asio::awaitable<std::uint64_t> send_file(std::string head, BlobFile file, std::uint64_t begin,
                                           std::uint64_t end);
  asio::awaitable<std::uint64_t> send_file_by_tls(std::string head, BlobFile file,
                                                  std::uint64_t begin, std::uint64_t end);

  // --- http_uploads.cpp ---
  asio::awaitable<void> serve_upload();
  asio::awaitable<void> create_upload(std::string owner);
  asio::awaitable<void> create_upload_locked(std::string owner, std::uint64_t length,
                                             UploadAnnouncement announced);
  asio::awaitable<Result<UploadState>> find_or_create(std::string owner, std::uint64_t length,
                                                      UploadAnnouncement announced);
  asio::awaitable<Status> keep_upload(std::string owner, std::string id);
  asio::awaitable<void> describe_upload(std::string owner, std::string id);
  asio::awaitable<void> append_upload(std::string owner, std::string id);
  asio::awaitable<void> remove_upload(std::string owner, std::string id);
  asio::awaitable<Result<UploadState>> receive(std::string owner, UploadState state);
  asio::awaitable<Result<UploadState>> receive_pieces(std::string owner, UploadState state);
  asio::awaitable<Result<UploadState>> receive_piece(std::string owner, UploadState state,
                                                     std::shared_ptr<char[]> piece);
  asio::awaitable<bool> lock_upload(std::string key);

  const std::shared_ptr<HttpServer::Impl> server_;
  const std::string peer_address_;
  const std::shared_ptr<AddressUse> address_;
  const std::shared_ptr<HttpStream> stream_;
  const Deadline age_deadline_;

  // --- On the strand. ---
  RequestHead head_;
  std::string raw_head_;  // kept for chunked bodies only
  std::uint64_t body_left_ = 0;
  bool has_chunks_left_ = false;
  bool must_continue_ = false;
  bool is_open_ = true;
  bool is_idle_ = false;
  bool is_stopping_ = false;
  bool is_aborted_ = false;
  bool is_receiving_ = false;
  bool is_interrupted_ = false;
  /// Of the body that is being received, if its head announced one.
  std::optional<UploadChecksum> checksum_;
  std::size_t request_count_ = 0;
  std::uint64_t bytes_received_told_ = 0;
  std::uint64_t bytes_sent_told_ = 0;
  std::shared_ptr<OpenCall> call_;
};

}  // namespace mh::net
