// See http_client.h. Calls, and the two faces; transfers are in http_client_downloads.cpp,
// http_client_uploads.cpp.
#include "proto/net/http_client.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>

#include "proto/net/http_client_impl.h"

namespace mh::net {
namespace {

// An error body, or what gzip adds to a message.
constexpr std::uint64_t kReplySlackBytes = 256 * 1024;

BodySource body_of(std::shared_ptr<const std::string> text) {
  BodySource source;
  source.bytes = text->size();
  source.read = [text](std::uint64_t offset, std::span<char> out) -> Status {
    std::copy_n(text->data() + offset, out.size(), out.data());
    return {};
  };
  return source;
}

}  // namespace

HttpClient::HttpClient(asio::any_io_executor executor, Url server, HttpClientOptions options)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(server), std::move(options))) {}

HttpClient::~HttpClient() { close(); }

asio::awaitable<Status> HttpClient::call_message(std::string method, const Message* request,
                                                 Message* response, CallOptions options,
                                                 ReplyMetadata* metadata) {
  auto encoded = encode_call(method, *request, options);
  if (!encoded.has_value()) co_return encoded.error();
  const std::uint64_t bytes_max = options.response_bytes_max + kReplySlackBytes;
  auto reply = co_await exchange(*std::move(encoded), options.timeout, bytes_max);
  if (!reply.has_value()) co_return reply.error();
  if (reply->status >= 300 && reply->status < 400) co_return error_of_reply(*reply, method);
  co_return decode_reply(*reply, options, *response, metadata);
}

asio::awaitable<Result<HttpResponse>> HttpClient::exchange(HttpRequest request,
                                                           std::chrono::milliseconds timeout,
                                                           std::uint64_t response_bytes_max) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::uint64_t started = impl->generation;
  const auto turn = co_await impl->take_turn();
  if (impl->generation != started) co_return impl->explain(started, Error());
  const auto text = std::make_shared<const std::string>(std::move(request.body));
  RequestDeadlines deadlines;
  deadlines.all =
      HttpStream::Clock::now() + std::min(timeout, std::chrono::milliseconds(86'400'000));
  BodySource source = body_of(text);
  co_return co_await impl->exchange(std::move(request), std::move(source), deadlines,
                                    response_bytes_max);
}

void HttpClient::set_bearer_token(std::string token) {
  impl_->options.bearer_token = std::move(token);
}
const Url& HttpClient::server() const { return impl_->server; }
void HttpClient::close() {
  ++impl_->generation;
  impl_->drop();
}
std::uint64_t HttpClient::bytes_sent() const { return impl_->bytes_sent; }
std::uint64_t HttpClient::bytes_received() const { return impl_->bytes_received; }

struct BlockingClient::Impl {
  Impl(Url server, HttpClientOptions options)
      : client(io.get_executor(), std::move(server), std::move(options)) {}

  // Runs the loop until the coroutine has ended; timers that are still set do not keep it.
  template <class Answer>
  Answer wait_for(asio::awaitable<Answer> work) {
    std::optional<Answer> answer;
    std::exception_ptr failure;
    auto on_end = [&](const std::exception_ptr& exception, Answer result) {
      failure = exception;
      answer.emplace(std::move(result));
    };
    asio::co_spawn(io, std::move(work), std::move(on_end));
    io.restart();
    while (!answer && io.run_one() > 0) {
    }
    if (failure) std::rethrow_exception(failure);
    return *std::move(answer);
  }

  asio::io_context io{1};
  HttpClient client;
};

BlockingClient::BlockingClient(Url server, HttpClientOptions options)
    : impl_(std::make_unique<Impl>(std::move(server), std::move(options))) {}
BlockingClient::~BlockingClient() = default;

Status BlockingClient::call_message(const std::string& method, const Message& request,
                                    Message& response, CallOptions options,
                                    ReplyMetadata* metadata) {
  return impl_->wait_for(
      impl_->client.call_message(method, &request, &response, std::move(options), metadata));
}
Result<HttpResponse> BlockingClient::exchange(HttpRequest request,
                                              std::chrono::milliseconds timeout,
                                              std::uint64_t response_bytes_max) {
  return impl_->wait_for(impl_->client.exchange(std::move(request), timeout, response_bytes_max));
}
Result<TransferReport> BlockingClient::download(const Digest& digest,
                                                const std::filesystem::path& target,
                                                DownloadOptions options) {
  return impl_->wait_for(impl_->client.download(digest, target, std::move(options)));
}
Result<std::string> BlockingClient::fetch(const Digest& digest, std::uint64_t bytes_max) {
  return impl_->wait_for(impl_->client.fetch(digest, bytes_max));
}
Result<TransferReport> BlockingClient::upload(const std::filesystem::path& file,
                                              const Digest& digest, TransferProgress progress) {
  return impl_->wait_for(impl_->client.upload(file, digest, std::move(progress)));
}
Result<TransferReport> BlockingClient::upload_bytes(std::string content, const Digest& digest) {
  return impl_->wait_for(impl_->client.upload_bytes(std::move(content), digest));
}
const Url& BlockingClient::server() const { return impl_->client.server(); }

}  // namespace mh::net
