// The head of a message, strictly: bytes up to the empty line in, a checked head or a refusal out.
// Beast parses; what Beast lets through but two parsers may read differently (request smuggling) is
// refused before or after. No sockets. Used by both sides; ChunkedBody decodes chunked bodies.
//   Rules: exactly one Host; one Content-Length of digits; Transfer-Encoding exactly "chunked", on
//   HTTP/1.1 only and never beside Content-Length; no folded fields, bare LF, NUL or blanks before
//   colons; no body on methods without one; target in origin form (absolute form is reduced to it).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "proto/base/result.h"
#include "proto/net/message.h"

namespace mh::net {

/// Limits of a head. Bytes are counted by whoever reads it.
struct HeadLimits {
  std::size_t bytes_max = 16 * 1024;
  std::size_t fields_max = 64;
  std::size_t target_bytes_max = 8 * 1024;
};

/// How the body that follows is framed, and what happens to the connection after it.
struct Framing {
  bool is_chunked = false;
  /// Absent in a response without length: the body ends with the connection.
  std::optional<std::uint64_t> content_length;
  bool keep_alive = true;
};

struct RequestHead {
  /// All but body and peer_address.
  HttpRequest request;
  Framing framing;
  bool is_http_10 = false;
  bool expects_continue = false;

  bool has_body() const { return framing.is_chunked || framing.content_length.value_or(0) > 0; }
};

struct ResponseHead {
  /// All but the body.
  HttpResponse response;
  Framing framing;
};

/// Length of the head (with the empty line) at the front of `bytes`, or nothing if it is not whole.
/// Errors: kInvalidArgument for a line that does not end in CR LF: reading on would be in vain.
Result<std::optional<std::size_t>> find_head(std::string_view bytes);

/// `raw` is one whole head. The refusal is to be sent, then the connection closed.
std::variant<RequestHead, HttpResponse> parse_request_head(std::string_view raw,
                                                           const HeadLimits& limits);
/// Errors: kUnknown (not HTTP/1.1).
Result<ResponseHead> parse_response_head(std::string_view raw);

/// Decodes a chunked body into memory, within a limit. Requires: the head said chunked.
class ChunkedBody {
 public:
  enum class Side { kRequest, kResponse };
  ChunkedBody(Side side, std::string_view raw_head, std::uint64_t bytes_max);
  ~ChunkedBody();

  /// Takes from the front of `bytes` and returns how many were used up; more may be needed.
  /// Errors: kResourceExhausted (over the limit), kInvalidArgument (malformed).
  Result<std::size_t> put(std::string_view bytes);
  bool is_done() const;
  /// Bytes of the body so far.
  std::uint64_t bytes() const;
  /// After is_done().
  std::string take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "HTTP/1.1 200 OK\r\n…\r\n\r\n" with Content-Length (unless the status has no body), Date and
/// Connection added. Fields that cannot be sent are left out.
std::string response_head_text(const HttpResponse& response, std::uint64_t content_length,
                               bool keep_alive);
/// "Sun, 06 Nov 1994 08:49:37 GMT" for seconds since 1970.
std::string http_date(std::int64_t unix_seconds);

}  // namespace mh::net
