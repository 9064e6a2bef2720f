// The Connect protocol, unary, server side: bytes and headers in, bytes and headers out. No Asio,
// no sockets, no clock, no threads; the transport (http_server.h) calls decode(), awaits the
// handler, calls encode().
//
//   HttpRequest -> ConnectCore::decode -> DecodedCall (typed message, context) -> handler
//     -> Result<message> -> ConnectCore::encode -> HttpResponse
//
// Rules (reference: connectrpc.com/docs/protocol):
// 1. POST with application/proto or application/json; anything else 415. GET only for methods
//    declared NO_SIDE_EFFECTS, with the message in the query; else 405 with Allow.
// 2. Limits are on the uncompressed message; inflating stops at the limit. *Rationale:* bombs.
// 3. JSON: at most kJsonBytesMax unless the method allows more, nesting at most kNestingMax,
// counted
//    before protobuf's parser sees it. *Rationale:* that parser is quadratic in nested arrays.
// 4. Errors are JSON with the sixteen codes; encodings are used only if the caller offered them.
// 5. Metadata set by handlers is refused if it holds CR, LF or NUL. Request headers are never
//    reflected.
// Threads: const members may be called from any thread once all methods are added.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/base/result.h"
#include "proto/net/message.h"

namespace mh::net {

/// Largest JSON body and deepest nesting, of JSON and of protobuf.
inline constexpr std::uint64_t kJsonBytesMax = 64 * 1024;
inline constexpr int kNestingMax = 32;
/// Largest protobuf message by default.
inline constexpr std::uint64_t kRpcBytesMax = 256 * 1024;
/// Responses of at least so many bytes are compressed if the caller offered gzip.
inline constexpr std::size_t kCompressFromBytes = 1024;
/// Most detail messages of an error and bytes of its text that are sent.
inline constexpr std::size_t kErrorMessageBytesMax = 8 * 1024;

using Message = google::protobuf::Message;

/// Says, across threads, that nobody waits for a call any more: its time is up, the caller has gone
/// or the server stops. Handlers that park look at it, or subscribe.
class CallSignal {
 public:
  CallSignal();
  ~CallSignal();
  CallSignal(const CallSignal&) = delete;
  CallSignal& operator=(const CallSignal&) = delete;

  bool is_set() const;
  /// Runs `action` when the signal is set (on the thread that sets it, so post to your strand), or
  /// at once if it is set already. Returns a number for unsubscribe().
  std::uint64_t subscribe(std::function<void()> action);
  /// After it returns, the action is not running and never will. Do not call it from the action.
  void unsubscribe(std::uint64_t subscription);
  /// Sets the signal; the first call runs the actions.
  void set();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A message that explains an error to programs: `type` is its full name.
struct ErrorDetail {
  std::string type;
  std::string value;  // serialised
};

/// What a handler may add to its response. Names and values are checked before they are sent.
struct ResponseMetadata {
  Headers headers;
  Headers trailers;
  std::vector<ErrorDetail> error_details;
};

/// Everything a handler may know of a call besides its message. Copyable; given by value.
struct CallContext {
  /// "/manyhands.v1.JobService/GetJob".
  std::string method;
  /// The request's header fields (metadata).
  Headers headers;
  /// What follows "Bearer " in Authorization; empty if there is none. Never log it.
  std::string bearer_token;
  std::string peer_address;
  /// The caller's time limit, clamped by the server; absent: none given.
  std::optional<std::chrono::milliseconds> timeout;
  /// When that is over (set by the transport).
  std::optional<std::chrono::steady_clock::time_point> deadline;
  bool is_get = false;
  /// Query parameters of a GET, decoded.
  std::vector<std::pair<std::string, std::string>> query;
  /// Set when nobody waits any more. Never null.
  std::shared_ptr<CallSignal> ended = std::make_shared<CallSignal>();
  /// Filled by the handler. Never null.
  std::shared_ptr<ResponseMetadata> response = std::make_shared<ResponseMetadata>();
};

/// How one method is treated.
struct MethodOptions {
  /// Largest uncompressed request message, as protobuf and as JSON.
  std::uint64_t request_bytes_max = kRpcBytesMax;
  std::uint64_t json_bytes_max = kJsonBytesMax;
};

/// A method as the core sees it.
struct MethodInfo {
  std::string path;
  /// Declared NO_SIDE_EFFECTS: may be called by GET.
  bool allows_get = false;
  MethodOptions options;
  const Message* request_prototype = nullptr;
};

enum class Codec { kProto, kJson };

/// A request that passed all checks.
struct DecodedCall {
  const MethodInfo* method = nullptr;
  Codec codec = Codec::kProto;
  bool may_compress = false;
  CallContext context;
  std::unique_ptr<Message> request;
};

/// Turns requests into calls and results into responses, for a table of methods.
class ConnectCore {
 public:
  /// Adds a method. `path` is "/package.Service/Method"; whether GET is allowed is read from the
  /// method's descriptor if it is linked in. Requires: not added before; a prototype that lives for
  /// ever (Request::default_instance()).
  void add(std::string path, const Message& request_prototype, MethodOptions options = {});
  const MethodInfo* find(std::string_view path) const;

  /// Largest body that any encoding of a request to this method may have, on the wire.
  static std::uint64_t body_bytes_max(const MethodInfo& method);

  /// Checks and decodes, or says what to answer instead. Requires: method is one of this table.
  std::variant<DecodedCall, HttpResponse> decode(const MethodInfo& method,
                                                 HttpRequest request) const;
  /// The response to a call; null message with success is an internal error.
  static HttpResponse encode(const DecodedCall& call, Result<std::unique_ptr<Message>> outcome);
  /// An error outside any decoded call (too large, overload, wrong content type), always JSON.
  static HttpResponse encode_error(const Error& error);

 private:
  std::map<std::string, MethodInfo, std::less<>> methods_;
};

}  // namespace mh::net
