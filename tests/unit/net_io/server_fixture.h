// A real server on loopback for tests: three methods, blobs and uploads in memory, a raw socket to
// send it anything. The server runs on two threads of its own, as in the program.
#pragma once

#include <gtest/gtest.h>
#include <manyhands/v1/job.pb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/net/async.h"
#include "proto/net/http_client.h"
#include "proto/net/http_server.h"

namespace mh::net {

namespace v1 = manyhands::v1;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using SteadyClock = std::chrono::steady_clock;

inline constexpr const char* kEcho = "/manyhands.v1.JobService/GetJob";
inline constexpr const char* kPark = "/manyhands.v1.JobService/WatchJob";
inline constexpr const char* kThrow = "/manyhands.v1.JobService/GetJobLog";

/// A blob in memory behind a descriptor, as the server wants it.
class MemoryBlobs final : public BlobSource {
 public:
  Digest add(std::string content) {
    const std::lock_guard lock(mutex_);
    const Digest digest = sha256(content);
    blobs_[digest] = std::move(content);
    return digest;
  }
  bool contains(const Digest& digest) {
    const std::lock_guard lock(mutex_);
    return blobs_.contains(digest);
  }
  std::string content(const Digest& digest) {
    const std::lock_guard lock(mutex_);
    return blobs_[digest];
  }
  Result<BlobFile> open(const Digest& digest) override {
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) return fail(Errc::kNotFound, "no blob " + digest.hex());
    BlobFile blob;
    blob.file = UniqueFd(::memfd_create("blob", MFD_CLOEXEC));
    blob.bytes = found->second.size();
    if (::write(blob.file.get(), found->second.data(), found->second.size()) < 0)
      return fail(Errc::kInternal, "memfd");
    return blob;
  }

 private:
  std::mutex mutex_;
  std::map<Digest, std::string> blobs_;
};

/// Uploads in memory; what is whole goes to the blobs.
class MemorySink final : public UploadSink {
 public:
  explicit MemorySink(std::shared_ptr<MemoryBlobs> blobs) : blobs_(std::move(blobs)) {}

  Result<UploadState> create(const std::string& owner, std::uint64_t length,
                             const Digest& digest) override {
    const std::lock_guard lock(mutex_);
    if (length == 666) return fail(Errc::kResourceExhausted, "the disk is full");
    Upload upload;
    upload.owner = owner;
    upload.digest = digest;
    upload.state.id = "upload-" + std::to_string(++count_);
    upload.state.length = length;
    upload.state.expires = from_unix_ms(1'800'000'000'000);
    if (blobs_->contains(digest)) {
      upload.state.is_complete = true;
      upload.state.offset = length;
    }
    uploads_[upload.state.id] = upload;
    return upload.state;
  }
  Result<UploadState> resume(const std::string& owner, std::uint64_t length,
                             const Digest& digest) override {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, upload] : uploads_) {
      const UploadState& state = upload.state;
      if (upload.owner == owner && upload.digest == digest && state.length == length &&
          !state.is_complete)
        return state;
    }
    return fail(Errc::kNotFound, "nothing to go on with");
  }
  Result<UploadState> find(const std::string& owner, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    MH_TRY(Upload * upload, locate(owner, id));
    return upload->state;
  }
  Result<UploadState> append(const std::string& owner, const std::string& id, std::uint64_t offset,
                             std::span<const std::byte> bytes) override {
    EXPECT_EQ(++inside_, 1) << "two threads in one upload";
    const std::lock_guard lock(mutex_);
    --inside_;
    MH_TRY(Upload * upload, locate(owner, id));
    if (offset != upload->state.offset) return fail(Errc::kAborted, "another offset");
    upload->content += as_text(bytes);
    upload->state.offset += bytes.size();
    ++append_count_;
    piece_bytes_max_ = std::max(piece_bytes_max_, bytes.size());
    if (upload->state.offset < upload->state.length) return upload->state;
    if (!upload->digest.is_zero() && sha256(upload->content) != upload->digest) {
      uploads_.erase(id);
      return fail(Errc::kInvalidArgument, "the bytes have another digest");
    }
    upload->state.is_complete = true;
    upload->state.digest = blobs_->add(upload->content);
    return upload->state;
  }
  Status rewind(const std::string& owner, const std::string& id, std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    MH_TRY(Upload * upload, locate(owner, id));
    if (offset > upload->state.offset) return fail(Errc::kAborted, "not that far");
    upload->content.resize(offset);
    upload->state.offset = offset;
    return {};
  }
  Status remove(const std::string& owner, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    MH_TRY([[maybe_unused]] Upload * upload, locate(owner, id));
    uploads_.erase(id);
    return {};
  }
  std::uint64_t offset_of(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return uploads_.contains(id) ? uploads_[id].state.offset : 0;
  }
  std::uint64_t count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  /// Pieces taken so far, by all uploads.
  std::uint64_t append_count() const { return append_count_; }

 private:
  struct Upload {
    std::string owner;
    Digest digest;
    std::string content;
    UploadState state;
  };
  Result<Upload*> locate(const std::string& owner, const std::string& id) {
    const auto found = uploads_.find(id);
    if (found == uploads_.end() || found->second.owner != owner)
      return fail(Errc::kNotFound, "no upload " + id);
    return &found->second;
  }

  const std::shared_ptr<MemoryBlobs> blobs_;
  std::atomic<int> inside_ = 0;
  std::atomic<std::uint64_t> append_count_ = 0;
  std::mutex mutex_;
  std::map<std::string, Upload> uploads_;
  std::uint64_t count_ = 0;
  std::size_t piece_bytes_max_ = 0;
};

/// A plain blocking socket.
class RawSocket {
 public:
  explicit RawSocket(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ =
        ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool is_connected() const { return is_connected_; }
  /// False if the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  void close_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }
  /// Closes with a reset.
  void reset() {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    fd_.reset();
  }
  /// Everything up to the server's close, or to the time.
  std::string read_to_end(std::chrono::milliseconds patience = 5s) {
    std::string text;
    const auto deadline = SteadyClock::now() + patience;
    is_closed_ = false;
    while (read_some(text, deadline)) {
    }
    return text;
  }
  /// A head and, by its Content-Length, its body.
  std::string read_reply(std::chrono::milliseconds patience = 5s) {
    const auto deadline = SteadyClock::now() + patience;
    std::string text;
    while (true) {
      const std::size_t end = text.find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::size_t field = text.find("Content-Length: ");
        const std::size_t length =
            field < end ? std::strtoul(text.c_str() + field + 16, nullptr, 10) : 0;
        if (text.size() >= end + 4 + length) return text;
      }
      if (!read_some(text, deadline)) return text;
    }
  }
  /// After read_to_end(): the server has closed.
  bool is_closed() const { return is_closed_; }

 private:
  bool read_some(std::string& text, SteadyClock::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyClock::now());
    pollfd state{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&state, 1, static_cast<int>(left.count())) <= 0) return false;
    char bytes[16384];
    const ssize_t count = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (count <= 0) {
      is_closed_ = true;
      return false;
    }
    text.append(bytes, static_cast<std::size_t>(count));
    return true;
  }

  UniqueFd fd_;
  bool is_connected_ = false;
  bool is_closed_ = false;
};

inline int status_of_reply(const std::string& reply) {
  const auto status = reply.size() > 12 && reply.starts_with("HTTP/1.1 ")
                          ? parse_decimal(std::string_view(reply).substr(9, 3))
                          : std::nullopt;
  return static_cast<int>(status.value_or(0));
}

inline std::size_t count_replies(const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find("HTTP/1.1 "); at != std::string::npos;
       at = text.find("HTTP/1.1 ", at + 1))
    ++count;
  return count;
}

class ServerFixture : public ::testing::Test {
 protected:
  ServerFixture() {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { io_.run(); });
    std::string pattern = (std::filesystem::temp_directory_path() / "mh-net-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ServerFixture() override {
    stop();
    guard_.reset();
    io_.stop();
    for (std::thread& thread : threads_) thread.join();
    pool_.join();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void start(HttpServerOptions options = {}, std::uint16_t port = 0) {
    server_ = std::make_unique<HttpServer>(io_.get_executor(), pool_.get_executor(), options);
    server_->set_services(services());
    server_->set_blobs(blobs_);
    server_->set_uploads(sink_, [](std::string token, std::string) { return authorize(token); });
    server_->add_page("/healthz", [](HttpRequest) { return page("ok"); });
    server_->add_page("/pages/", [](HttpRequest request) { return page(request.target); });
    const auto started = server_->start("127.0.0.1", port);
    ASSERT_TRUE(started.has_value()) << started.error().message;
    port_ = *started;
  }
  void stop() {
    if (!server_) return;
    asio::co_spawn(io_, server_->stop(), asio::use_future).get();
    server_.reset();
  }
  Url url() const { return *parse_url("http://127.0.0.1:" + std::to_string(port_)); }
  static HttpClientOptions client_options(std::string token = "ada") {
    HttpClientOptions options;
    options.bearer_token = std::move(token);
    return options;
  }
  /// Sends bytes on a connection of their own and reads to the end.
  std::string talk(std::string_view bytes, std::chrono::milliseconds patience = 5s) {
    RawSocket socket(port_);
    socket.send(bytes);
    return socket.read_to_end(patience);
  }
  static bool wait_until(const std::function<bool()>& is_true,
                         std::chrono::milliseconds patience = 5s) {
    const auto deadline = SteadyClock::now() + patience;
    while (!is_true()) {
      if (SteadyClock::now() > deadline) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }

  /// What the server offers; called by start().
  virtual ServiceTable services() {
    ServiceTable table;
    table.add<v1::GetJobRequest, v1::GetJobResponse>(
        kEcho, [](CallContext context, v1::GetJobRequest request) {
          return echo(std::move(context), std::move(request));
        });
    table.add<v1::WatchJobRequest, v1::WatchJobResponse>(
        kPark, [this](CallContext context, v1::WatchJobRequest request) {
          return park(std::move(context), std::move(request));
        });
    table.add<v1::GetJobLogRequest, v1::GetJobLogResponse>(
        kThrow, [](CallContext context, v1::GetJobLogRequest request) {
          return fall(std::move(context), std::move(request));
        });
    return table;
  }
  /// Waits until nobody waits for the call any more.
  asio::awaitable<Result<v1::WatchJobResponse>> park(CallContext context, v1::WatchJobRequest) {
    const auto executor = co_await asio::this_coro::executor;
    const auto timer = std::make_shared<asio::steady_timer>(executor, 30s);
    const auto subscription = context.ended->subscribe(
        [timer, executor] { asio::post(executor, [timer] { timer->cancel(); }); });
    ++parked_;
    co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
    context.ended->unsubscribe(subscription);
    ++unparked_;
    co_return v1::WatchJobResponse();
  }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_ = asio::make_work_guard(io_);
  asio::thread_pool pool_{2};
  std::vector<std::thread> threads_;
  std::shared_ptr<MemoryBlobs> blobs_ = std::make_shared<MemoryBlobs>();
  std::shared_ptr<MemorySink> sink_ = std::make_shared<MemorySink>(blobs_);
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
  std::filesystem::path folder_;
  std::atomic<int> parked_ = 0;
  std::atomic<int> unparked_ = 0;

 private:
  static asio::awaitable<Result<std::string>> authorize(std::string token) {
    if (token.empty()) co_return fail(Errc::kUnauthenticated, "uploads need a token");
    co_return token;
  }
  static asio::awaitable<HttpResponse> page(std::string text) {
    co_return plain_text_response(200, std::move(text));
  }
  static asio::awaitable<Result<v1::GetJobResponse>> echo(CallContext context,
                                                          v1::GetJobRequest request) {
    if (request.id() == 404) co_return fail(Errc::kNotFound, "no job 404");
    context.response->trailers.add("x-peer", context.peer_address);
    v1::GetJobResponse response;
    response.set_yaml("job " + std::to_string(request.id()));
    if (request.id() == 1'000'000) response.set_yaml(std::string(1'000'000, 'j'));
    co_return response;
  }
  static asio::awaitable<Result<v1::GetJobLogResponse>> fall(CallContext, v1::GetJobLogRequest) {
    throw std::runtime_error("a secret of the server");
    co_return v1::GetJobLogResponse();
  }
};

}  // namespace mh::net
