// The Connect protocol, unary, client side, without Asio: a message to a request, a response to a
// message or an Error. Used by http_client.h and by tests.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "proto/net/connect_core.h"
#include "proto/net/message.h"

namespace mh::net {

/// How a call is made.
struct CallOptions {
  /// Limit for the whole call, enforced here.
  std::chrono::milliseconds timeout = std::chrono::seconds(30);
  /// The server is told the limit, too, as Connect-Timeout-Ms.
  bool sends_timeout = true;
  /// Largest response message, uncompressed.
  std::uint64_t response_bytes_max = 16 * 1024 * 1024;
  /// More header fields (metadata).
  Headers headers;
  Codec codec = Codec::kProto;
  /// Compress request messages of at least so many bytes.
  bool compress = false;
  std::size_t compress_from_bytes = kCompressFromBytes;
  /// By GET, for methods without side effects, if the query stays short.
  bool use_get = false;
};

/// What came back beside the message.
struct ReplyMetadata {
  Headers headers;
  Headers trailers;
  std::vector<ErrorDetail> error_details;
};

/// The request that calls `method` ("/package.Service/Method").
/// Errors: kInternal (the message cannot be serialised).
Result<HttpRequest> encode_call(const std::string& method, const Message& message,
                                const CallOptions& options);

/// The message in `response`, or the Error it carries. A response that is not Connect's (a proxy's
/// 502, a web page) becomes an Error by the table of the protocol: 400 internal, 401
/// unauthenticated, 403 permission_denied, 404 unimplemented, 429, 502, 503, 504 unavailable, else
/// unknown. A message in the codec that was not asked for is internal. `metadata`, if given, is
/// filled in both cases.
Status decode_reply(const HttpResponse& response, const CallOptions& options, Message& message,
                    ReplyMetadata* metadata = nullptr);

/// What a reply's Retry-After asks for, in seconds as this server and common proxies write it; 0
/// without one, or for a date.
std::chrono::seconds retry_after_of(const Headers& headers);

}  // namespace mh::net
