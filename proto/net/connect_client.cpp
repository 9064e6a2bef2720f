// See connect_client.h.
#include "proto/net/connect_client.h"

#include <algorithm>

#include "proto/base/bytes.h"
#include "proto/base/utf8.h"
#include "proto/net/connect_json.h"
#include "proto/net/gzip.h"

namespace mh::net {
namespace {

constexpr std::size_t kSentenceBytesMax = 300;
// A longer query may be refused on the way.
constexpr std::size_t kGetTargetBytesMax = 4 * 1024;
constexpr std::uint64_t kTimeoutMsMax = 9'999'999'999;
constexpr std::string_view kTrailerPrefix = "trailer-";

std::string_view content_type_of(Codec codec) {
  return codec == Codec::kProto ? "application/proto" : "application/json";
}

void add_common(HttpRequest& request, const CallOptions& options) {
  const auto timeout = std::clamp<std::uint64_t>(
      static_cast<std::uint64_t>(std::max<std::int64_t>(options.timeout.count(), 1)), 1,
      kTimeoutMsMax);
  if (options.sends_timeout) request.headers.add("Connect-Timeout-Ms", std::to_string(timeout));
  request.headers.add("Accept-Encoding", "gzip");
  for (const auto& [name, value] : options.headers) request.headers.add(name, value);
}

// "application/json; charset=utf-8" → "application/json".
std::string_view media_type(const Headers& headers) {
  const auto value = headers.find("Content-Type").value_or("");
  return trim(value.substr(0, value.find(';')));
}

bool is_message_type(std::string_view type) {
  return iequals(type, content_type_of(Codec::kProto)) ||
         iequals(type, content_type_of(Codec::kJson));
}

Result<std::string> plain_body(const HttpResponse& response, std::uint64_t bytes_max) {
  const auto encoding = response.headers.find("Content-Encoding").value_or("identity");
  if (iequals(encoding, "gzip") && !response.body.empty())
    return gzip_inflate(response.body, bytes_max);
  if (!iequals(encoding, "identity") && !iequals(encoding, "gzip"))
    return fail(Errc::kInternal,
                "the reply has the unknown encoding '" + plain_text(encoding, 40) + "'");
  if (response.body.size() > bytes_max)
    return fail(Errc::kResourceExhausted, "the reply has " + std::to_string(response.body.size()) +
                                              " bytes, the limit is " + std::to_string(bytes_max));
  return response.body;
}

// The first line of a page for people, as far as it is text.
std::string first_sentence(std::string_view text) {
  std::string line(text.substr(0, std::min(text.find_first_of("\r\n"), kSentenceBytesMax)));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

}  // namespace

std::chrono::seconds retry_after_of(const Headers& headers) {
  constexpr std::uint64_t kSecondsMax = 86'400;
  const auto seconds = parse_decimal(trim(headers.find("Retry-After").value_or("")));
  return std::chrono::seconds(std::min(seconds.value_or(0), kSecondsMax));
}

Result<HttpRequest> encode_call(const std::string& method, const Message& message,
                                const CallOptions& options) {
  MH_TRY(std::string body, serialise(message, options.codec));
  const bool is_compressed = options.compress && body.size() >= options.compress_from_bytes;
  if (is_compressed) body = gzip_compress(body);
  HttpRequest request;
  if (options.use_get) {
    request.method = "GET";
    // In the order that the protocol recommends, so that caches recognise a request.
    request.target = method + "?connect=v1&base64=1" + (is_compressed ? "&compression=gzip" : "") +
                     "&encoding=" + (options.codec == Codec::kProto ? "proto" : "json") +
                     "&message=" + to_base64url(as_bytes(body));
    if (request.target.size() <= kGetTargetBytesMax) {
      add_common(request, options);
      return request;
    }
  }
  request.method = "POST";
  request.target = method;
  request.headers.add("Content-Type", std::string(content_type_of(options.codec)));
  request.headers.add("Connect-Protocol-Version", "1");
  add_common(request, options);
  if (is_compressed) request.headers.add("Content-Encoding", "gzip");
  request.body = std::move(body);
  return request;
}

Status decode_reply(const HttpResponse& response, const CallOptions& options, Message& message,
                    ReplyMetadata* metadata) {
  std::vector<ErrorDetail> details;
  if (metadata != nullptr) {
    for (const auto& [name, value] : response.headers) {
      const std::string lower_name = to_lower(name);
      if (lower_name.starts_with(kTrailerPrefix))
        metadata->trailers.add(lower_name.substr(kTrailerPrefix.size()), value);
      else
        metadata->headers.add(lower_name, value);
    }
  }
  auto body = plain_body(response, options.response_bytes_max);
  if (response.status == 200) {
    if (!body.has_value()) return body.error();
    const std::string_view type = media_type(response.headers);
    if (!iequals(type, content_type_of(options.codec)))
      return fail(is_message_type(type) ? Errc::kInternal : Errc::kUnknown,
                  "the reply is not what was asked for (content type '" + plain_text(type, 80) +
                      "'): is this a Manyhands server?");
    const Status parsed =
        options.codec == Codec::kProto ? parse_proto(*body, message) : parse_json(*body, message);
    if (!parsed.has_value()) return fail(Errc::kInternal, parsed.error().message);
    return {};
  }
  const Errc code = code_of_status(response.status);
  if (body.has_value() && iequals(media_type(response.headers), "application/json")) {
    auto error =
        parse_error_body(*body, code, metadata != nullptr ? &metadata->error_details : &details);
    if (error) return *std::move(error);
  }
  // What refuses before it looks at the call says why in a sentence.
  std::string why(reason_phrase(response.status));
  if (body.has_value() && iequals(media_type(response.headers), "text/plain"))
    why = first_sentence(*body);
  return fail(code, "HTTP status " + std::to_string(response.status) + " (" + why + ")");
}

}  // namespace mh::net
