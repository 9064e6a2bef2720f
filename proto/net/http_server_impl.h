// What the sessions of one HttpServer share: what is served, limits with their counters, and the
// list of sessions for stop(). Only for proto/net/http_*.cpp.
// Threads: constant after start(), atomic, or guarded by mutex_ (a leaf: nothing is called under
// it).
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proto/net/http_server.h"
#include "proto/net/http_tls.h"

namespace mh::net {

class Session;

/// What one address has open.
struct AddressUse {
  std::atomic<std::size_t> connections = 0;
  std::atomic<std::size_t> calls = 0;
};

/// Counts something up to a limit and back when it is destroyed.
class Slot {
 public:
  Slot() = default;
  /// Empty if the limit is reached.
  static Slot take(std::atomic<std::uint64_t>& counter, std::uint64_t amount, std::uint64_t limit);
  ~Slot() { release(); }
  Slot(Slot&& other) noexcept
      : counter_(std::exchange(other.counter_, nullptr)), amount_(other.amount_) {}
  Slot& operator=(Slot&& other) noexcept;
  explicit operator bool() const { return counter_ != nullptr; }

 private:
  void release();

  std::atomic<std::uint64_t>* counter_ = nullptr;
  std::uint64_t amount_ = 0;
};

/// Uploads are received, and blobs sent with TLS, in pieces of so many bytes.
inline constexpr std::size_t kTransferPieceBytes = 256 * 1024;

/// A call under way; ends its counts when the handler has ended.
struct CallSlot {
  CallSlot(std::shared_ptr<HttpServer::Impl> the_server, std::shared_ptr<AddressUse> the_address);
  ~CallSlot();
  CallSlot(const CallSlot&) = delete;
  CallSlot& operator=(const CallSlot&) = delete;

  const std::shared_ptr<HttpServer::Impl> server;
  const std::shared_ptr<AddressUse> address;
  /// What the request's message takes, where it may be much more than its bytes on the wire.
  Slot memory;
};

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(asio::any_io_executor io_of, asio::any_io_executor pool_of, HttpServerOptions limits);

  // --- Constant after start(). ---
  const asio::any_io_executor io;
  const asio::any_io_executor pool;
  const HttpServerOptions options;
  ServiceTable services;
  std::shared_ptr<BlobSource> blobs;
  std::shared_ptr<UploadSink> uploads;
  UploadAuthorizer authorizer;
  DownloadObserver download_observer;
  std::map<std::string, PageHandler, std::less<>> pages;
  /// Null: plain HTTP.
  std::shared_ptr<TlsContext> tls;

  // --- The acceptor, on its strand. ---
  asio::ip::tcp::acceptor acceptor;
  UniqueFd spare_descriptor;
  std::chrono::steady_clock::time_point accept_warning_due{};

  // --- Counters. ---
  std::atomic<bool> is_stopping = false;
  std::atomic<std::uint64_t> connections_accepted = 0;
  std::atomic<std::uint64_t> connections_refused = 0;
  std::atomic<std::uint64_t> connections_open = 0;
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> requests_refused = 0;
  std::atomic<std::uint64_t> calls_open = 0;
  std::atomic<std::uint64_t> uploads_open = 0;
  std::atomic<std::uint64_t> body_bytes_in_flight = 0;
  std::atomic<std::uint64_t> bytes_received = 0;
  std::atomic<std::uint64_t> bytes_sent = 0;
  std::atomic<std::chrono::steady_clock::time_point> handshake_warning_due{};

  /// For a session, or the acceptor: whatever runs on it runs one at a time.
  asio::any_io_executor make_executor() const;
  static asio::awaitable<void> accept_all(std::shared_ptr<Impl> self);
  void welcome(asio::ip::tcp::socket socket);
  /// Those that wait already.
  boost::system::error_code welcome_more();
  void refuse_some_for_lack_of_descriptors();
  void close_acceptor();

  /// Says in the log why, now and then: strangers can cause as many as they like.
  void tell_failed_handshake(const std::string& peer, const boost::system::error_code& error);

  /// The handler of the longest page path that matches, or null.
  const PageHandler* find_page(std::string_view path) const;

  /// Sessions from their start to their end.
  void add_session(const std::shared_ptr<Session>& session);
  void remove_session(const Session* session);
  std::vector<std::shared_ptr<Session>> sessions();
  std::shared_ptr<AddressUse> use_of(const std::string& address);

  /// Uploads being received, by owner and id: never two sessions in one. lock_upload() returns the
  /// session that has it, or null: then it is the caller's until unlock_upload().
  std::shared_ptr<Session> lock_upload(const std::string& key,
                                       const std::shared_ptr<Session>& session);
  void unlock_upload(const std::string& key);

  /// Memory for a piece of a transfer. Fresh pages cost more than the rest of a small upload, so a
  /// few pieces are kept.
  std::shared_ptr<char[]> take_piece();
  void give_piece(std::shared_ptr<char[]> piece);

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<char[]>> pieces_;
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions_;
  std::map<std::string, std::shared_ptr<AddressUse>> addresses_;
  std::map<std::string, std::weak_ptr<Session>> upload_owners_;
};

/// "203.0.113.7"; of IPv6 addresses the /64 prefix, for limits.
std::string limit_key_of(const asio::ip::address& address);

}  // namespace mh::net
