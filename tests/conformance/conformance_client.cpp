// The client under test of the official Connect conformance suite, on the code that the product
// runs: HttpClient and the Connect client. Each message on stdin describes a call; what came of it
// goes to stdout, until stdin ends. `make conformance` runs it.
#include <connectrpc/conformance/v1/client_compat.pb.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "proto/net/async.h"
#include "proto/net/http_client.h"
#include "tests/conformance/compat_messages.h"

namespace mh::net {
namespace {

std::unique_ptr<Message> new_message(const google::protobuf::Descriptor* type) {
  const Message* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type);
  return std::unique_ptr<Message>(prototype->New());
}

// One call with its messages, as the suite describes it.
struct Call {
  std::string method;
  std::unique_ptr<Message> request;
  std::unique_ptr<Message> response;
  CallOptions options;
  ReplyMetadata metadata;
  std::optional<std::chrono::milliseconds> cancel_after;
};

CallOptions to_options(const conformance::ClientCompatRequest& wanted) {
  CallOptions options;
  options.codec = wanted.codec() == conformance::CODEC_JSON ? Codec::kJson : Codec::kProto;
  options.compress = wanted.compression() == conformance::COMPRESSION_GZIP;
  options.compress_from_bytes = 0;
  options.use_get = wanted.use_get_http_method();
  options.headers = flattened(wanted.request_headers());
  options.sends_timeout = wanted.has_timeout_ms();
  if (wanted.has_timeout_ms()) options.timeout = std::chrono::milliseconds(wanted.timeout_ms());
  if (wanted.message_receive_limit() > 0)
    options.response_bytes_max = wanted.message_receive_limit();
  return options;
}

Result<Call> to_call(const conformance::ClientCompatRequest& wanted) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const auto* method = pool->FindMethodByName(wanted.service() + "." + wanted.method());
  if (method == nullptr || wanted.request_messages_size() != 1)
    return fail(Errc::kInvalidArgument,
                "only unary calls of a known method with one message can be made");
  Call call;
  call.method = "/" + wanted.service() + "/" + wanted.method();
  call.request = new_message(method->input_type());
  call.response = new_message(method->output_type());
  if (!wanted.request_messages(0).UnpackTo(call.request.get()))
    return fail(Errc::kInvalidArgument, "the message is not the one that the method takes");
  call.options = to_options(wanted);
  if (wanted.cancel().has_after_close_send_ms())
    call.cancel_after = std::chrono::milliseconds(wanted.cancel().after_close_send_ms());
  return call;
}

// Keeps the connection between calls, as the daemon does.
class Caller {
 public:
  Status make(const conformance::ClientCompatRequest& wanted, Call& call) {
    connect_to(wanted);
    Status outcome;
    bool is_done = false;
    const auto on_end = [&is_done](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
      is_done = true;
    };
    asio::co_spawn(io_, run(*client_, call, outcome), on_end);
    asio::steady_timer timer(io_);
    if (call.cancel_after) {
      timer.expires_after(*call.cancel_after);
      timer.async_wait([this](const boost::system::error_code& error) {
        if (!error) client_->close();
      });
    }
    io_.restart();
    while (!is_done) io_.run_one();
    timer.cancel();
    io_.poll();
    return outcome;
  }

 private:
  static asio::awaitable<void> run(HttpClient& client, Call& call, Status& outcome) {
    outcome = co_await client.call_message(call.method, call.request.get(), call.response.get(),
                                           call.options, &call.metadata);
  }
  void connect_to(const conformance::ClientCompatRequest& wanted) {
    Url url;
    url.host = wanted.host();
    url.port = static_cast<std::uint16_t>(wanted.port());
    url.is_tls = !wanted.server_tls_cert().empty();
    if (client_ && client_->server().text() == url.text()) return;
    HttpClientOptions options;
    options.tls_trusted_pem = wanted.server_tls_cert();
    client_ = std::make_unique<HttpClient>(io_.get_executor(), std::move(url), std::move(options));
  }

  asio::io_context io_{1};
  std::unique_ptr<HttpClient> client_;
};

void describe(const Status& status, const Call& call, conformance::ClientResponseResult& result) {
  *result.mutable_response_headers() = grouped(call.metadata.headers);
  *result.mutable_response_trailers() = grouped(call.metadata.trailers);
  if (!status.has_value()) {
    conformance::Error& error = *result.mutable_error();
    error.set_code(static_cast<conformance::Code>(status.error().code));
    error.set_message(status.error().message);
    for (const ErrorDetail& detail : call.metadata.error_details)
      *error.add_details() = to_any(detail);
    return;
  }
  auto* payload = result.add_payloads();
  const auto* field = call.response->GetDescriptor()->FindFieldByName("payload");
  if (field != nullptr)
    payload->CopyFrom(call.response->GetReflection()->GetMessage(*call.response, field));
}

Status serve() {
  Caller caller;
  conformance::ClientCompatRequest wanted;
  while (true) {
    MH_TRY(const bool is_there, read_compat_message(wanted));
    if (!is_there) return {};
    conformance::ClientCompatResponse reply;
    reply.set_test_name(wanted.test_name());
    auto call = to_call(wanted);
    if (call.has_value()) {
      const Status status = caller.make(wanted, *call);
      describe(status, *call, *reply.mutable_response());
    } else {
      reply.mutable_error()->set_message(call.error().message);
    }
    MH_TRY_VOID(write_compat_message(reply));
  }
}

}  // namespace
}  // namespace mh::net

int main() {
  const mh::Status status = mh::net::serve();
  if (status.has_value()) return 0;
  std::cerr << "conformance_client: " << status.error().message << "\n";
  return 1;
}
