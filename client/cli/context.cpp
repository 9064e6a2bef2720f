// See context.h.
#include "client/cli/context.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include "proto/base/build_info.h"
#include "proto/net/certificate.h"
#include "proto/net/http_client.h"
#include "proto/net/server_link.h"

namespace mh::cli {
namespace {

constexpr const char* kOtherServer =
    "This is not the server that was meant, or it has a new key. Ask its admin; if the key was "
    "replaced, 'manyhands login' with the new address, else somebody is between this computer and "
    "the server";

}  // namespace

struct Context::Connection {
  Connection(const net::Url& url, const net::HttpClientOptions& options) : client(url, options) {}
  net::BlockingClient client;
};

Context::Context(GlobalFlags flags, std::ostream& out, std::ostream& err)
    : flags_(std::move(flags)), out_(out), err_(err) {}
Context::~Context() = default;

bool Context::is_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

void Context::use(const Login& login) {
  login_ = login;
  connection_.reset();
}

Status Context::connect() {
  if (connection_) return {};
  if (login_.server.empty()) {
    MH_TRY(login_, find_login(flags_.login));
  }
  MH_TRY(const net::Url url, net::parse_url(login_.server));
  MH_TRY_VOID(net::check_plain_http(url, login_.is_insecure_http, "--insecure-http"));
  net::HttpClientOptions options;
  options.tls_trusted_pem = login_.authority_pem;
  options.tls_advice = kOtherServer;
  if (!login_.fingerprint.empty()) {
    MH_TRY(options.tls_fingerprint, net::parse_fingerprint(login_.fingerprint));
  }
  options.bearer_token = login_.token;
  options.user_agent = "manyhands/" + std::string(kVersion);
  connection_ = std::make_unique<Connection>(url, options);
  return {};
}

Error Context::explain(Error error) const {
  switch (error.code) {
    case Errc::kUnavailable:
    case Errc::kDeadlineExceeded:
      if (!error.message.starts_with("cannot connect to "))
        error.message = "cannot reach " + login_.server + ": " + error.message;
      break;
    case Errc::kUnauthenticated:
      error.message = login_.server + " does not accept the token (" + error.message +
                      "): run 'manyhands login " + login_.server + "'";
      break;
    default:
      if (error.message.starts_with("HTTP status "))
        error =
            fail(Errc::kUnavailable, login_.server + " does not answer like a Manyhands server (" +
                                         error.message + "): is the URL right?");
      break;
  }
  return error;
}

Status Context::call_message(const std::string& method, const google::protobuf::Message& request,
                             google::protobuf::Message& response,
                             std::chrono::milliseconds timeout) {
  MH_TRY_VOID(connect());
  net::CallOptions options;
  options.timeout = timeout;
  options.compress = true;
  const Status status =
      connection_->client.call_message("/manyhands.v1." + method, request, response, options);
  if (!status.has_value()) return explain(status.error());
  return {};
}

Status Context::upload(std::string content, const Digest& digest) {
  MH_TRY_VOID(connect());
  const auto report = connection_->client.upload_bytes(std::move(content), digest);
  if (!report.has_value()) return explain(report.error());
  return {};
}

Status Context::download(const Digest& digest, const std::filesystem::path& target,
                         std::function<void(std::uint64_t, std::uint64_t)> progress) {
  MH_TRY_VOID(connect());
  net::DownloadOptions options;
  options.durable = true;
  options.progress = std::move(progress);
  const auto report = connection_->client.download(digest, target, options);
  if (!report.has_value()) return explain(report.error());
  return {};
}

Status Context::fetch_file(const Digest& digest, const std::filesystem::path& target,
                           std::uint64_t bytes_max) {
  MH_TRY_VOID(connect());
  net::DownloadOptions options;
  options.bytes_max = bytes_max;
  const auto report = connection_->client.download(digest, target, options);
  if (!report.has_value()) return explain(report.error());
  return {};
}

Result<std::string> Context::fetch(const Digest& digest, std::uint64_t bytes_max) {
  MH_TRY_VOID(connect());
  auto content = connection_->client.fetch(digest, bytes_max);
  if (!content.has_value()) return explain(content.error());
  return content;
}

void Context::print_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (google::protobuf::util::MessageToJsonString(message, &text, options).ok()) out_ << text;
}

}  // namespace mh::cli
