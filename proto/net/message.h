// HTTP messages as plain values, shared by the Connect core (no Asio) and the transport, with the
// pieces of syntax both need: header lists, percent-encoding, query strings.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/base/result.h"

namespace mh::net {

/// Header fields in order; names compare without regard to case; a name may occur several times.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  /// Appends a field.
  void add(std::string name, std::string value);
  /// Replaces all fields of this name by one.
  void set(std::string name, std::string value);
  void remove(std::string_view name);
  /// The first value of this name. The view lasts as long as the list is not changed.
  std::optional<std::string_view> find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  bool contains(std::string_view name) const { return count(name) > 0; }

  std::size_t size() const { return fields_.size(); }
  void reserve(std::size_t count) { fields_.reserve(count); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

/// A request as the core sees it: already framed, not yet decoded.
struct HttpRequest {
  std::string method;
  /// Origin form: path and query, for example "/manyhands.v1.JobService/GetJob?connect=v1".
  std::string target;
  Headers headers;
  std::string body;
  /// Address of the peer without port, for limits and logs.
  std::string peer_address;

  std::string_view path() const;
  /// Without the question mark; empty if there is none.
  std::string_view query() const;
};

/// A response. The transport adds Content-Length, Date and Connection.
struct HttpResponse {
  int status = 200;
  Headers headers;
  std::string body;
};

/// True if both are equal without regard to the case of ASCII letters.
bool iequals(std::string_view left, std::string_view right);
/// ASCII lower case.
std::string to_lower(std::string_view text);
/// Without blanks and tabs at both ends.
std::string_view trim(std::string_view text);
/// The comma-separated items of a list header, trimmed, empty ones left out.
std::vector<std::string_view> split_list(std::string_view text);
/// What follows "Bearer " in Authorization; empty if there is none.
std::string bearer_token_of(const Headers& headers);
/// True for a header name (RFC 9110 token) and for a value free of CR, LF and NUL.
bool is_header_name(std::string_view name);
bool is_header_value(std::string_view value);
/// A non-negative decimal number without sign, at most 19 digits.
std::optional<std::uint64_t> parse_decimal(std::string_view text);
/// The reason phrase of a status, "Unknown" for others.
std::string_view reason_phrase(int status);

/// Decodes %XX (and + as blank if asked). Errors: kInvalidArgument for a broken escape.
Result<std::string> percent_decode(std::string_view text, bool plus_is_blank);
/// Encodes everything but unreserved characters.
std::string percent_encode(std::string_view text);
/// The parameters of a query string in order, decoded. Errors: kInvalidArgument (broken escape,
/// more than 64 parameters).
Result<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view query);

/// A text/plain response with a trailing newline: for people with curl.
HttpResponse plain_text_response(int status, std::string text);

}  // namespace mh::net
