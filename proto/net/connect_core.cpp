// See connect_core.h.
#include "proto/net/connect_core.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/log.h"
#include "proto/base/utf8.h"
#include "proto/net/connect_json.h"
#include "proto/net/gzip.h"

namespace mh::net {
namespace {

constexpr std::size_t kTimeoutDigitsMax = 10;
constexpr std::size_t kDetailCountMax = 16;
constexpr std::string_view kEncodings = "identity, gzip";
// Headers of which two would leave open which one counts.
constexpr std::array<std::string_view, 5> kSingleHeaders = {"Content-Type", "Content-Encoding",
                                                            "Connect-Protocol-Version",
                                                            "Connect-Timeout-Ms", "Authorization"};
// What the transport and the protocol write themselves.
constexpr std::array<std::string_view, 9> kOwnHeaders = {
    "Content-Length",   "Transfer-Encoding", "Connection", "Date",    "Content-Type",
    "Content-Encoding", "Keep-Alive",        "Upgrade",    "Trailer",
};

bool is_read_only(std::string_view path) {
  std::string name(path.substr(1));
  std::replace(name.begin(), name.end(), '/', '.');
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
  return method != nullptr &&
         method->options().idempotency_level() == google::protobuf::MethodOptions::NO_SIDE_EFFECTS;
}

HttpResponse unsupported_media_type() {
  HttpResponse response = plain_text_response(
      415, "calls are application/proto or application/json, without streaming");
  response.headers.add("Accept-Post", "application/proto, application/json");
  return response;
}

std::optional<Codec> codec_of_type(std::string_view content_type) {
  const std::string_view type = trim(content_type.substr(0, content_type.find(';')));
  if (iequals(type, "application/proto")) return Codec::kProto;
  if (iequals(type, "application/json")) return Codec::kJson;
  return std::nullopt;
}

// "gzip;q=0" is a refusal; other weights are not weighed.
bool is_refused(std::string_view parameters) {
  const std::size_t q = parameters.find("q=");
  if (q == std::string_view::npos) return false;
  const std::string_view weight = trim(parameters.substr(q + 2));
  return weight.starts_with('0') && weight.find_first_of("123456789") == std::string_view::npos;
}

bool offers_gzip(const Headers& headers, bool by_default) {
  bool is_given = false;
  for (const auto& [name, value] : headers) {
    if (!iequals(name, "Accept-Encoding")) continue;
    is_given = true;
    for (const std::string_view item : split_list(value)) {
      const std::size_t semicolon = item.find(';');
      const bool is_named = iequals(trim(item.substr(0, semicolon)), "gzip");
      if (is_named && (semicolon == std::string_view::npos || !is_refused(item.substr(semicolon))))
        return true;
    }
  }
  return !is_given && by_default;
}

Result<bool> is_gzip(std::string_view encoding) {
  if (encoding.empty() || iequals(encoding, "identity")) return false;
  if (iequals(encoding, "gzip")) return true;
  return fail(Errc::kUnimplemented, "unknown compression '" + plain_text(encoding, 40) +
                                        "': this server takes " + std::string(kEncodings));
}

Status check_single(const Headers& headers) {
  for (const std::string_view name : kSingleHeaders) {
    if (headers.count(name) > 1)
      return fail(Errc::kInvalidArgument, "more than one header " + std::string(name));
  }
  return {};
}

Result<CallContext> context_of(const MethodInfo& method, HttpRequest& request) {
  MH_TRY_VOID(check_single(request.headers));
  CallContext context;
  context.method = method.path;
  context.is_get = request.method == "GET";
  context.peer_address = request.peer_address;
  context.bearer_token = bearer_token_of(request.headers);
  if (const auto version = request.headers.find("Connect-Protocol-Version");
      version && *version != "1")
    return fail(Errc::kInvalidArgument, "Connect-Protocol-Version is '" + plain_text(*version, 40) +
                                            "': this server speaks version 1");
  if (const auto text = request.headers.find("Connect-Timeout-Ms")) {
    const auto timeout = text->size() <= kTimeoutDigitsMax ? parse_decimal(*text) : std::nullopt;
    if (!timeout)
      return fail(Errc::kInvalidArgument,
                  "Connect-Timeout-Ms must be a number of milliseconds of at most 10 digits");
    context.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(*timeout));
  }
  return context;
}

// What a request says of its message, from the headers of a POST or the query of a GET.
struct Envelope {
  Codec codec = Codec::kProto;
  bool is_compressed = false;
  std::string body;
};

std::variant<Envelope, HttpResponse> open_post(HttpRequest& request) {
  Envelope envelope;
  const auto codec = codec_of_type(request.headers.find("Content-Type").value_or(""));
  if (!codec) return unsupported_media_type();
  envelope.codec = *codec;
  const auto compressed = is_gzip(trim(request.headers.find("Content-Encoding").value_or("")));
  if (!compressed.has_value()) return ConnectCore::encode_error(compressed.error());
  envelope.is_compressed = *compressed;
  envelope.body = std::move(request.body);
  return envelope;
}

std::variant<Envelope, HttpResponse> open_get(const HttpRequest& request, CallContext& context) {
  auto query = parse_query(request.query());
  if (!query.has_value()) return ConnectCore::encode_error(query.error());
  context.query = *std::move(query);
  const auto parameter = [&context](std::string_view name) -> std::optional<std::string_view> {
    for (const auto& [key, value] : context.query) {
      if (key == name) return value;
    }
    return std::nullopt;
  };
  const auto refuse = [](const std::string& why) {
    return ConnectCore::encode_error(fail(Errc::kInvalidArgument, why));
  };
  if (parameter("connect").value_or("v1") != "v1")
    return refuse("the parameter 'connect' must be v1");
  Envelope envelope;
  const auto encoding = parameter("encoding").value_or("");
  if (encoding != "proto" && encoding != "json") return unsupported_media_type();
  envelope.codec = encoding == "proto" ? Codec::kProto : Codec::kJson;
  const auto compressed = is_gzip(parameter("compression").value_or(""));
  if (!compressed.has_value()) return ConnectCore::encode_error(compressed.error());
  envelope.is_compressed = *compressed;
  const auto message = parameter("message");
  if (!message) return refuse("the parameter 'message' is missing");
  envelope.body = *message;
  if (parameter("base64").value_or("") == "1") {
    const auto bytes = from_base64(*message);
    if (!bytes.has_value()) return refuse("the parameter 'message' is no base64");
    envelope.body = as_text(*bytes);
  }
  return envelope;
}

Result<std::unique_ptr<Message>> parse_request(const MethodInfo& method, Envelope envelope) {
  const std::uint64_t bytes_max = envelope.codec == Codec::kProto ? method.options.request_bytes_max
                                                                  : method.options.json_bytes_max;
  // An empty body is an empty message, also where it claims to be compressed.
  if (envelope.is_compressed && !envelope.body.empty()) {
    MH_TRY(envelope.body, gzip_inflate(envelope.body, bytes_max));
  }
  if (envelope.body.size() > bytes_max)
    return fail(Errc::kResourceExhausted,
                "the message has " + std::to_string(envelope.body.size()) +
                    " bytes, the limit of " + method.path + " is " + std::to_string(bytes_max));
  std::unique_ptr<Message> message(method.request_prototype->New());
  if (envelope.codec == Codec::kProto) {
    MH_TRY_VOID(parse_proto(envelope.body, *message));
  } else {
    MH_TRY_VOID(parse_json(envelope.body, *message));
  }
  return message;
}

bool is_own_header(std::string_view name) {
  return to_lower(name.substr(0, 8)) == "connect-" ||
         std::any_of(kOwnHeaders.begin(), kOwnHeaders.end(),
                     [name](std::string_view own) { return iequals(own, name); });
}

Status add_metadata(const ResponseMetadata& metadata, HttpResponse& response) {
  const auto add = [&response](const Headers& fields, const std::string& prefix) -> Status {
    for (const auto& [name, value] : fields) {
      if (!is_header_name(name) || !is_header_value(value) ||
          (prefix.empty() && is_own_header(name)))
        return fail(Errc::kInternal, "a handler set a header that cannot be sent");
      response.headers.add(prefix + name, value);
    }
    return {};
  };
  MH_TRY_VOID(add(metadata.headers, ""));
  return add(metadata.trailers, "trailer-");
}

HttpResponse error_response(const Error& error, const std::vector<ErrorDetail>& details) {
  HttpResponse response;
  response.status = status_of(error.code);
  response.headers.add("Content-Type", "application/json");
  if (error.code == Errc::kUnauthenticated) response.headers.add("WWW-Authenticate", "Bearer");
  response.body = error_body(error, details);
  return response;
}

}  // namespace

struct CallSignal::Impl {
  std::mutex mutex;
  std::condition_variable action_ended;
  // Guarded by mutex.
  bool is_set = false;
  std::uint64_t last_subscription = 0;
  std::uint64_t running = 0;
  std::map<std::uint64_t, std::function<void()>> actions;
};

CallSignal::CallSignal() : impl_(std::make_unique<Impl>()) {}
CallSignal::~CallSignal() = default;

bool CallSignal::is_set() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->is_set;
}

std::uint64_t CallSignal::subscribe(std::function<void()> action) {
  std::unique_lock lock(impl_->mutex);
  const std::uint64_t subscription = ++impl_->last_subscription;
  if (!impl_->is_set) {
    impl_->actions.emplace(subscription, std::move(action));
    return subscription;
  }
  lock.unlock();
  action();
  return subscription;
}

void CallSignal::unsubscribe(std::uint64_t subscription) {
  std::unique_lock lock(impl_->mutex);
  impl_->actions.erase(subscription);
  impl_->action_ended.wait(lock, [&] { return impl_->running != subscription; });
}

void CallSignal::set() {
  std::unique_lock lock(impl_->mutex);
  if (impl_->is_set) return;
  impl_->is_set = true;
  while (!impl_->actions.empty()) {
    const auto first = impl_->actions.begin();
    impl_->running = first->first;
    const std::function<void()> action = std::move(first->second);
    impl_->actions.erase(first);
    lock.unlock();
    action();
    lock.lock();
    impl_->running = 0;
    impl_->action_ended.notify_all();
  }
}

void ConnectCore::add(std::string path, const Message& request_prototype, MethodOptions options) {
  MH_CHECK(path.starts_with('/') && path.find('/', 1) != std::string::npos);
  MethodInfo info;
  info.path = path;
  info.allows_get = is_read_only(path);
  info.options = options;
  info.request_prototype = &request_prototype;
  MH_CHECK(methods_.emplace(std::move(path), std::move(info)).second);
}

const MethodInfo* ConnectCore::find(std::string_view path) const {
  const auto found = methods_.find(path);
  return found == methods_.end() ? nullptr : &found->second;
}

std::uint64_t ConnectCore::body_bytes_max(const MethodInfo& method) {
  const std::uint64_t plain =
      std::max(method.options.request_bytes_max, method.options.json_bytes_max);
  // What gzip adds to bytes that do not compress.
  return plain + plain / 1000 + 64;
}

std::variant<DecodedCall, HttpResponse> ConnectCore::decode(const MethodInfo& method,
                                                            HttpRequest request) const {
  const bool is_get = request.method == "GET" && method.allows_get;
  if (request.method != "POST" && !is_get) {
    HttpResponse response =
        plain_text_response(405, method.allows_get ? "call it by POST or GET" : "call it by POST");
    response.headers.add("Allow", method.allows_get ? "GET, POST" : "POST");
    return response;
  }
  auto context = context_of(method, request);
  if (!context.has_value()) return encode_error(context.error());
  auto opened = is_get ? open_get(request, *context) : open_post(request);
  if (auto* refusal = std::get_if<HttpResponse>(&opened)) return std::move(*refusal);
  Envelope& envelope = std::get<Envelope>(opened);

  DecodedCall call;
  call.method = &method;
  call.codec = envelope.codec;
  call.may_compress = offers_gzip(request.headers, envelope.is_compressed);
  call.context = *std::move(context);
  call.context.headers = std::move(request.headers);
  auto message = parse_request(method, std::move(envelope));
  if (!message.has_value()) return encode_error(message.error());
  call.request = *std::move(message);
  return call;
}

HttpResponse ConnectCore::encode(const DecodedCall& call,
                                 Result<std::unique_ptr<Message>> outcome) {
  const ResponseMetadata& metadata = *call.context.response;
  HttpResponse response;
  if (outcome.has_value()) {
    auto body = *outcome ? serialise(**outcome, call.codec)
                         : Result<std::string>(fail(Errc::kInternal, "no response was made"));
    if (!body.has_value()) return error_response(body.error(), {});
    response.headers.add("Content-Type",
                         call.codec == Codec::kProto ? "application/proto" : "application/json");
    if (call.context.is_get) response.headers.add("Vary", "Accept-Encoding");
    if (call.may_compress && body->size() >= kCompressFromBytes) {
      response.headers.add("Content-Encoding", "gzip");
      response.body = gzip_compress(*body);
    } else {
      response.body = *std::move(body);
    }
  } else {
    std::vector<ErrorDetail> details = metadata.error_details;
    if (details.size() > kDetailCountMax) details.resize(kDetailCountMax);
    response = error_response(outcome.error(), details);
  }
  const Status added = add_metadata(metadata, response);
  if (added.has_value()) return response;
  log_error(added.error().message, {{"method", call.method->path}});
  return error_response(added.error(), {});
}

HttpResponse ConnectCore::encode_error(const Error& error) { return error_response(error, {}); }

}  // namespace mh::net
