// See http_server.h. The listener, the list of sessions and the stop.
#include "proto/net/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include "proto/base/check.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "proto/net/http_server_impl.h"
#include "proto/net/http_session.h"

namespace mh::net {
namespace {

using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kPiecesKept = 16;
// Connections taken in one go: whoever comes behind a crowd shall not wait for all of its requests.
constexpr int kWelcomedAtOnce = 64;
// Connections closed in one go while there are no descriptors, and how often the log says so.
constexpr int kRefusedAtOnce = 64;
constexpr auto kAcceptWarningInterval = std::chrono::seconds(10);
constexpr auto kHandshakeWarningInterval = std::chrono::seconds(10);
constexpr auto kStopLook = std::chrono::milliseconds(10);
constexpr std::string_view kFullResponse =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 51\r\n"
    "Retry-After: 5\r\nConnection: close\r\n\r\n"
    "the server has too many connections: try again soon";

UniqueFd open_spare() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool is_lack_of_descriptors(const ErrorCode& error) {
  return error == boost::system::errc::too_many_files_open ||
         error == boost::system::errc::too_many_files_open_in_system;
}

Result<tcp::endpoint> resolve(const asio::any_io_executor& io, const std::string& host,
                              std::uint16_t port) {
  ErrorCode error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return tcp::endpoint(address, port);
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), error);
  if (error || found.empty())
    return fail(
        Errc::kInvalidArgument,
        "'" + host.substr(0, 100) + "' is neither an address nor a known name: " + error.message());
  return found.begin()->endpoint();
}

void log_end(const std::exception_ptr& exception) {
  if (!exception) return;
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    log_error(std::string("a connection ended by an exception: ") + error.what());
  }
}

}  // namespace

void ServiceTable::add_any(std::string path, const Message& request_prototype, AnyHandler handler,
                           MethodOptions options) {
  core_.add(path, request_prototype, options);
  handlers_.emplace(std::move(path), std::move(handler));
}

const ServiceTable::AnyHandler& ServiceTable::handler(const std::string& path) const {
  const auto found = handlers_.find(path);
  MH_CHECK(found != handlers_.end());
  return found->second;
}

std::string limit_key_of(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const asio::ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  const auto bytes = v6.to_bytes();
  return {reinterpret_cast<const char*>(bytes.data()), 8};
}

Slot Slot::take(std::atomic<std::uint64_t>& counter, std::uint64_t amount, std::uint64_t limit) {
  Slot slot;
  if (counter.fetch_add(amount) + amount > limit) {
    counter -= amount;
    return slot;
  }
  slot.counter_ = &counter;
  slot.amount_ = amount;
  return slot;
}

Slot& Slot::operator=(Slot&& other) noexcept {
  if (this == &other) return *this;
  release();
  counter_ = std::exchange(other.counter_, nullptr);
  amount_ = other.amount_;
  return *this;
}

void Slot::release() {
  if (counter_ != nullptr) *counter_ -= amount_;
  counter_ = nullptr;
}

CallSlot::CallSlot(std::shared_ptr<HttpServer::Impl> the_server,
                   std::shared_ptr<AddressUse> the_address)
    : server(std::move(the_server)), address(std::move(the_address)) {
  ++server->calls_open;
  ++address->calls;
}

CallSlot::~CallSlot() {
  --server->calls_open;
  --address->calls;
}

HttpServer::Impl::Impl(asio::any_io_executor io_of, asio::any_io_executor pool_of,
                       HttpServerOptions limits)
    : io(std::move(io_of)),
      pool(std::move(pool_of)),
      options(limits),
      acceptor(make_executor()),
      spare_descriptor(open_spare()) {}

asio::any_io_executor HttpServer::Impl::make_executor() const {
  if (options.has_one_io_thread) return io;
  // A strand of what is known to be an io_context costs half of one of anything.
  if (const auto* context = io.target<asio::io_context::executor_type>())
    return asio::make_strand(*context);
  return asio::make_strand(io);
}

asio::awaitable<void> HttpServer::Impl::accept_all(std::shared_ptr<Impl> self) {
  while (!self->is_stopping) {
    const asio::any_io_executor strand = self->make_executor();
    constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
    auto [error, socket] = co_await self->acceptor.async_accept(strand, kToken);
    if (!self->acceptor.is_open()) co_return;
    if (!error) {
      self->welcome(std::move(socket));
      error = self->welcome_more();
    }
    if (!error) continue;
    if (error == asio::error::connection_aborted) continue;
    // Retrying at once would spin at full load.
    if (is_lack_of_descriptors(error)) self->refuse_some_for_lack_of_descriptors();
    const auto now = HttpStream::Clock::now();
    if (now >= self->accept_warning_due) {
      log_warn("cannot accept connections: " + error.message());
      self->accept_warning_due = now + kAcceptWarningInterval;
    }
    co_await sleep_for(self->options.accept_pause);
  }
}

boost::system::error_code HttpServer::Impl::welcome_more() {
  ErrorCode error;
  for (int i = 0; i < kWelcomedAtOnce && acceptor.is_open(); ++i) {
    tcp::socket socket = acceptor.accept(make_executor(), error);
    if (error == asio::error::would_block || error == asio::error::try_again) return {};
    if (error) return error;
    welcome(std::move(socket));
  }
  return {};
}

void HttpServer::Impl::welcome(tcp::socket socket) {
  ErrorCode error;
  const auto peer = socket.remote_endpoint(error);
  if (error) return;
  socket.set_option(tcp::no_delay(true), error);
  ++connections_accepted;
  auto address = use_of(limit_key_of(peer.address()));
  const bool is_full = connections_open >= options.connections_max ||
                       address->connections >= options.connections_per_address_max;
  if (is_full || is_stopping) {
    ++connections_refused;
    if (tls) return;
    socket.non_blocking(true, error);
    socket.write_some(asio::buffer(kFullResponse.data(), kFullResponse.size()), error);
    return;
  }
  ++connections_open;
  ++address->connections;
  const auto executor = socket.get_executor();
  auto session = std::make_shared<Session>(shared_from_this(), std::move(socket),
                                           peer.address().to_string(), std::move(address));
  add_session(session);
  asio::co_spawn(executor, Session::run(std::move(session)), log_end);
}

void HttpServer::Impl::tell_failed_handshake(const std::string& peer, const ErrorCode& error) {
  // Who goes away in the middle, or is too slow, has no need of an explanation.
  if (error.category() != asio::error::get_ssl_category()) return;
  const auto now = HttpStream::Clock::now();
  if (now < handshake_warning_due.load()) return;
  handshake_warning_due = now + kHandshakeWarningInterval;
  log_info("a TLS handshake failed", {{"peer", peer}, {"why", error.message()}});
}

void HttpServer::Impl::refuse_some_for_lack_of_descriptors() {
  for (int i = 0; i < kRefusedAtOnce; ++i) {
    spare_descriptor.reset();
    UniqueFd refused(
        ::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    const bool is_one = refused.is_open();
    // Its descriptor is the next spare one.
    refused.reset();
    spare_descriptor = open_spare();
    if (!is_one) return;
    ++connections_refused;
  }
}

void HttpServer::Impl::close_acceptor() {
  asio::dispatch(acceptor.get_executor(), [self = shared_from_this()] {
    ErrorCode ignored;
    self->acceptor.close(ignored);
  });
}

const PageHandler* HttpServer::Impl::find_page(std::string_view path) const {
  if (const auto exact = pages.find(path); exact != pages.end()) return &exact->second;
  for (std::size_t slash = path.rfind('/'); slash != std::string_view::npos && slash > 0;
       slash = path.rfind('/', slash - 1)) {
    const auto folder = pages.find(path.substr(0, slash + 1));
    if (folder != pages.end()) return &folder->second;
  }
  return nullptr;
}

void HttpServer::Impl::add_session(const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  sessions_.emplace(session.get(), session);
}

void HttpServer::Impl::remove_session(const Session* session) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(session);
}

std::vector<std::shared_ptr<Session>> HttpServer::Impl::sessions() {
  std::vector<std::shared_ptr<Session>> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [pointer, weak] : sessions_) {
    if (auto session = weak.lock()) all.push_back(std::move(session));
  }
  return all;
}

std::shared_ptr<AddressUse> HttpServer::Impl::use_of(const std::string& address) {
  const std::lock_guard lock(mutex_);
  // Forgotten when nobody of it is here.
  if (addresses_.size() > options.connections_max) {
    std::erase_if(addresses_, [](const auto& entry) { return entry.second.use_count() == 1; });
  }
  auto& use = addresses_[address];
  if (!use) use = std::make_shared<AddressUse>();
  return use;
}

std::shared_ptr<Session> HttpServer::Impl::lock_upload(const std::string& key,
                                                       const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  auto& owner = upload_owners_[key];
  if (auto other = owner.lock()) return other;
  owner = session;
  return nullptr;
}

void HttpServer::Impl::unlock_upload(const std::string& key) {
  const std::lock_guard lock(mutex_);
  upload_owners_.erase(key);
}

std::shared_ptr<char[]> HttpServer::Impl::take_piece() {
  {
    const std::lock_guard lock(mutex_);
    if (!pieces_.empty()) {
      auto piece = std::move(pieces_.back());
      pieces_.pop_back();
      return piece;
    }
  }
  return std::make_shared_for_overwrite<char[]>(kTransferPieceBytes);
}

void HttpServer::Impl::give_piece(std::shared_ptr<char[]> piece) {
  const std::lock_guard lock(mutex_);
  if (pieces_.size() < kPiecesKept) pieces_.push_back(std::move(piece));
}

HttpServer::HttpServer(asio::any_io_executor io, asio::any_io_executor pool,
                       HttpServerOptions options)
    : impl_(std::make_shared<Impl>(std::move(io), std::move(pool), options)) {}

HttpServer::~HttpServer() {
  impl_->is_stopping = true;
  impl_->close_acceptor();
  for (const auto& session : impl_->sessions()) session->abort();
}

void HttpServer::set_services(ServiceTable services) { impl_->services = std::move(services); }
void HttpServer::set_blobs(std::shared_ptr<BlobSource> blobs) { impl_->blobs = std::move(blobs); }
void HttpServer::set_uploads(std::shared_ptr<UploadSink> sink, UploadAuthorizer authorizer) {
  impl_->uploads = std::move(sink);
  impl_->authorizer = std::move(authorizer);
}
void HttpServer::set_download_observer(DownloadObserver observer) {
  impl_->download_observer = std::move(observer);
}
void HttpServer::add_page(std::string path, PageHandler handler) {
  impl_->pages.insert_or_assign(std::move(path), std::move(handler));
}

Result<std::uint16_t> HttpServer::start(const std::string& host, std::uint16_t port) {
  const HttpServerOptions& options = impl_->options;
  if (!options.tls_certificate_pem.empty() || !options.tls_key_pem.empty()) {
    MH_TRY(impl_->tls, TlsContext::for_server(options.tls_certificate_pem, options.tls_key_pem));
  }
  MH_TRY(const tcp::endpoint endpoint, resolve(impl_->io, host, port));
  tcp::acceptor& acceptor = impl_->acceptor;
  ErrorCode error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && endpoint.address().is_v6() && endpoint.address().is_unspecified())
    acceptor.set_option(asio::ip::v6_only(false), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(impl_->options.listen_backlog, error);
  if (!error) acceptor.non_blocking(true, error);
  if (error) {
    ErrorCode ignored;
    acceptor.close(ignored);
    return fail(Errc::kUnavailable, "cannot listen on " + host + " port " + std::to_string(port) +
                                        ": " + error.message());
  }
  const std::uint16_t used = acceptor.local_endpoint().port();
  asio::co_spawn(acceptor.get_executor(), Impl::accept_all(impl_), log_end);
  return used;
}

asio::awaitable<void> HttpServer::stop() {
  const std::shared_ptr<Impl> impl = impl_;
  impl->is_stopping = true;
  impl->close_acceptor();
  const auto is_busy = [&impl] { return impl->connections_open > 0 || impl->calls_open > 0; };
  auto deadline = HttpStream::Clock::now() + impl->options.stop_timeout;
  for (const auto& session : impl->sessions()) session->stop();
  while (is_busy() && HttpStream::Clock::now() < deadline) co_await sleep_for(kStopLook);
  for (const auto& session : impl->sessions()) session->abort();
  deadline = HttpStream::Clock::now() + impl->options.stop_timeout;
  while (is_busy() && HttpStream::Clock::now() < deadline) co_await sleep_for(kStopLook);
  if (is_busy())
    log_error("the server stops although handlers still run",
              {{"calls", impl->calls_open.load()}, {"connections", impl->connections_open.load()}});
}

HttpServerStats HttpServer::stats() const {
  HttpServerStats stats;
  stats.connections_accepted = impl_->connections_accepted;
  stats.connections_refused = impl_->connections_refused;
  stats.connections_open = impl_->connections_open;
  stats.requests = impl_->requests;
  stats.requests_refused = impl_->requests_refused;
  stats.calls_open = impl_->calls_open;
  stats.bytes_received = impl_->bytes_received;
  stats.bytes_sent = impl_->bytes_sent;
  return stats;
}

}  // namespace mh::net
