// See http_head.h.
#include "proto/net/http_head.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <ctime>

namespace mh::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::array<std::string_view, 4> kBodyMethods = {"POST", "PUT", "PATCH", "DELETE"};
constexpr std::array<std::string_view, 5> kFramingHeaders = {"Content-Length", "Transfer-Encoding",
                                                             "Connection", "Date", "Keep-Alive"};

std::string text_of(boost::beast::string_view view) { return {view.data(), view.size()}; }

// A connection is closed after each of these: where the next message starts is not known.
HttpResponse refuse(int status, std::string why) {
  return plain_text_response(status, std::move(why));
}

template <class Parser>
Headers headers_of(const Parser& parser) {
  Headers headers;
  headers.reserve(16);
  for (const auto& field : parser.get())
    headers.add(text_of(field.name_string()), text_of(field.value()));
  return headers;
}

// What the parser would mend or overlook.
std::optional<std::string> find_raw_fault(std::string_view raw) {
  for (std::size_t i = 0; i + 2 < raw.size(); ++i) {
    if (raw[i] == '\n' && (raw[i + 1] == ' ' || raw[i + 1] == '\t'))
      return "a header field is folded over two lines";
  }
  const bool has_control = std::any_of(raw.begin(), raw.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\r' && c != '\n' && c != '\t') || byte == 0x7F;
  });
  if (has_control) return "the head holds control characters";
  return std::nullopt;
}

// Reduces "http://host/path" to "/path". False: neither that nor a path.
bool to_origin_form(std::string& target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() <= scheme.size() ||
        !iequals(std::string_view(target).substr(0, scheme.size()), scheme))
      continue;
    const std::size_t path = target.find_first_of("/?", scheme.size());
    target = path == std::string::npos ? "/" : target.substr(path);
    if (target.front() == '?') target.insert(0, "/");
    break;
  }
  return target.starts_with('/') && std::all_of(target.begin(), target.end(), [](char c) {
           return c > ' ' && c < 0x7F && c != '#';
         });
}

// Reads Content-Length and Transfer-Encoding; the text says what is wrong with them.
std::optional<std::string> read_framing(const Headers& headers, bool is_http_10, Framing& framing) {
  const std::size_t encodings = headers.count("Transfer-Encoding");
  const std::size_t lengths = headers.count("Content-Length");
  if (encodings > 0) {
    if (is_http_10) return "HTTP/1.0 has no Transfer-Encoding";
    if (encodings > 1 || !iequals(*headers.find("Transfer-Encoding"), "chunked"))
      return "Transfer-Encoding must be chunked and nothing else";
    if (lengths > 0) return "Content-Length and Transfer-Encoding exclude each other";
    framing.is_chunked = true;
  }
  if (lengths > 1) return "there is more than one Content-Length";
  if (lengths == 1) {
    framing.content_length = parse_decimal(*headers.find("Content-Length"));
    if (!framing.content_length) return "Content-Length must be one decimal number";
  }
  framing.keep_alive = !is_http_10;
  for (const auto& [name, value] : headers) {
    if (!iequals(name, "Connection")) continue;
    for (const std::string_view item : split_list(value)) {
      if (iequals(item, "close")) framing.keep_alive = false;
    }
  }
  return std::nullopt;
}

std::optional<HttpResponse> check_request(RequestHead& head, const HeadLimits& limits) {
  HttpRequest& request = head.request;
  if (request.headers.size() > limits.fields_max)
    return refuse(431, "more than " + std::to_string(limits.fields_max) + " header fields");
  if (request.target.size() > limits.target_bytes_max)
    return refuse(
        414, "the target is longer than " + std::to_string(limits.target_bytes_max) + " bytes");
  if (const auto fault = read_framing(request.headers, head.is_http_10, head.framing))
    return refuse(400, *fault);
  if (request.headers.count("Host") != 1) return refuse(400, "there must be exactly one Host");
  if (!to_origin_form(request.target))
    return refuse(400, "the target must be a path that starts with /");
  const bool may_have_body =
      std::find(kBodyMethods.begin(), kBodyMethods.end(), request.method) != kBodyMethods.end();
  if (head.has_body() && !may_have_body)
    return refuse(400, "a " + request.method.substr(0, 20) + " request has no body");
  if (const auto expected = request.headers.find("Expect")) {
    if (!iequals(*expected, "100-continue"))
      return refuse(417, "the only expectation known here is 100-continue");
    head.expects_continue = !head.is_http_10 && head.has_body();
  }
  return std::nullopt;
}

std::string_view request_version(std::string_view raw) {
  const std::string_view line = raw.substr(0, raw.find('\r'));
  const std::size_t blank = line.rfind(' ');
  return blank == std::string_view::npos ? std::string_view() : line.substr(blank + 1);
}

}  // namespace

Result<std::optional<std::size_t>> find_head(std::string_view bytes) {
  for (std::size_t i = bytes.find('\n'); i != std::string_view::npos; i = bytes.find('\n', i + 1)) {
    if (i == 0 || bytes[i - 1] != '\r')
      return fail(Errc::kInvalidArgument, "lines of a head end in CR LF");
    if (i >= 3 && bytes[i - 2] == '\n') return std::optional(i + 1);
    if (i == 1) return fail(Errc::kInvalidArgument, "a message starts with its first line");
  }
  return std::optional<std::size_t>();
}

std::variant<RequestHead, HttpResponse> parse_request_head(std::string_view raw,
                                                           const HeadLimits& limits) {
  if (auto fault = find_raw_fault(raw)) return refuse(400, *std::move(fault));
  const std::string_view version = request_version(raw);
  if (version.starts_with("HTTP/") && version != "HTTP/1.1" && version != "HTTP/1.0")
    return refuse(505, "this server speaks HTTP/1.1");
  http::request_parser<http::empty_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.bytes_max));
  parser.body_limit(boost::none);
  boost::system::error_code error;
  parser.put(asio::buffer(raw.data(), raw.size()), error);
  if (error == http::error::header_limit) return refuse(431, "the head is too large");
  if (error || !parser.is_header_done())
    return refuse(400, "malformed request: " + error.message());
  RequestHead head;
  head.request.method = text_of(parser.get().method_string());
  head.request.target = text_of(parser.get().target());
  head.request.headers = headers_of(parser);
  head.is_http_10 = parser.get().version() == 10;
  if (auto refusal = check_request(head, limits)) return *std::move(refusal);
  return head;
}

Result<ResponseHead> parse_response_head(std::string_view raw) {
  const auto refuse_reply = [](const std::string& why) {
    return fail(Errc::kUnknown,
                "the reply is not proper HTTP/1.1 (" + why + "): is this a Manyhands server?");
  };
  if (const auto fault = find_raw_fault(raw)) return refuse_reply(*fault);
  http::response_parser<http::empty_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(raw.size()) + 1);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  parser.put(asio::buffer(raw.data(), raw.size()), error);
  if (error || !parser.is_header_done()) return refuse_reply(error.message());
  ResponseHead head;
  head.response.status = static_cast<int>(parser.get().result_int());
  head.response.headers = headers_of(parser);
  const bool is_http_10 = parser.get().version() == 10;
  if (const auto fault = read_framing(head.response.headers, is_http_10, head.framing))
    return refuse_reply(*fault);
  return head;
}

struct ChunkedBody::Impl {
  explicit Impl(Side side_of) : side(side_of) {}

  template <class Parser>
  Result<std::size_t> put(Parser& parser, std::string_view bytes) {
    boost::system::error_code error;
    const std::size_t used = parser.put(asio::buffer(bytes.data(), bytes.size()), error);
    if (error == http::error::body_limit || error == http::error::buffer_overflow)
      return fail(Errc::kResourceExhausted,
                  "the body is larger than " + std::to_string(bytes_max) + " bytes");
    if (error && error != http::error::need_more)
      return fail(Errc::kInvalidArgument, "malformed chunked body: " + error.message());
    return used;
  }

  const Side side;
  std::uint64_t bytes_max = 0;
  http::request_parser<http::string_body> request;
  http::response_parser<http::string_body> response;
};

ChunkedBody::ChunkedBody(Side side, std::string_view raw_head, std::uint64_t bytes_max)
    : impl_(std::make_unique<Impl>(side)) {
  impl_->bytes_max = bytes_max;
  const auto prepare = [&](auto& parser) {
    parser.header_limit(static_cast<std::uint32_t>(raw_head.size()) + 1);
    parser.body_limit(bytes_max);
    boost::system::error_code ignored;
    parser.put(asio::buffer(raw_head.data(), raw_head.size()), ignored);
    parser.eager(true);
  };
  if (side == Side::kRequest) {
    prepare(impl_->request);
  } else {
    prepare(impl_->response);
  }
}

ChunkedBody::~ChunkedBody() = default;

Result<std::size_t> ChunkedBody::put(std::string_view bytes) {
  if (bytes.empty()) return std::size_t{0};
  return impl_->side == Side::kRequest ? impl_->put(impl_->request, bytes)
                                       : impl_->put(impl_->response, bytes);
}

bool ChunkedBody::is_done() const {
  return impl_->side == Side::kRequest ? impl_->request.is_done() : impl_->response.is_done();
}

std::uint64_t ChunkedBody::bytes() const {
  return impl_->side == Side::kRequest ? impl_->request.get().body().size()
                                       : impl_->response.get().body().size();
}

std::string ChunkedBody::take() {
  return impl_->side == Side::kRequest ? std::move(impl_->request.get().body())
                                       : std::move(impl_->response.get().body());
}

std::string http_date(std::int64_t unix_seconds) {
  const std::time_t time = unix_seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  // The C locale's names: the programs do not call setlocale().
  std::array<char, 64> text;
  const std::size_t length =
      std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text.data(), length};
}

std::string response_head_text(const HttpResponse& response, std::uint64_t content_length,
                               bool keep_alive) {
  thread_local std::int64_t date_second = -1;
  thread_local std::string date;
  const std::int64_t now = std::time(nullptr);
  if (now != date_second) {
    date = http_date(now);
    date_second = now;
  }
  std::string text;
  text.reserve(512);
  text.append("HTTP/1.1 ").append(std::to_string(response.status)).append(" ");
  text.append(reason_phrase(response.status)).append("\r\n");
  for (const auto& [name, value] : response.headers) {
    const bool is_framing =
        std::any_of(kFramingHeaders.begin(), kFramingHeaders.end(),
                    [&name = name](std::string_view own) { return iequals(own, name); });
    if (is_framing || !is_header_name(name) || !is_header_value(value)) continue;
    text.append(name).append(": ").append(value).append("\r\n");
  }
  if (response.status >= 200 && response.status != 204 && response.status != 304)
    text.append("Content-Length: ").append(std::to_string(content_length)).append("\r\n");
  text.append("Date: ").append(date).append("\r\n");
  if (!keep_alive) text.append("Connection: close\r\n");
  text.append("\r\n");
  return text;
}

}  // namespace mh::net
