// See connect_json.h.
#include "proto/net/connect_json.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "proto/base/bytes.h"

namespace mh::net {
namespace {

constexpr std::size_t kErrorBodyBytesMax = 256 * 1024;
constexpr std::size_t kDetailCountMax = 16;
constexpr int kErrcFirst = 1;
constexpr int kErrcLast = 16;

}  // namespace

int status_of(Errc code) {
  switch (code) {
    case Errc::kCanceled:
      return 499;
    case Errc::kUnknown:
      return 500;
    case Errc::kInvalidArgument:
      return 400;
    case Errc::kDeadlineExceeded:
      return 504;
    case Errc::kNotFound:
      return 404;
    case Errc::kAlreadyExists:
      return 409;
    case Errc::kPermissionDenied:
      return 403;
    case Errc::kResourceExhausted:
      return 429;
    case Errc::kFailedPrecondition:
      return 400;
    case Errc::kAborted:
      return 409;
    case Errc::kOutOfRange:
      return 400;
    case Errc::kUnimplemented:
      return 501;
    case Errc::kInternal:
      return 500;
    case Errc::kUnavailable:
      return 503;
    case Errc::kDataLoss:
      return 500;
    case Errc::kUnauthenticated:
      return 401;
  }
  return 500;
}

Errc code_of_status(int status) {
  switch (status) {
    case 400:
      return Errc::kInternal;
    case 401:
      return Errc::kUnauthenticated;
    case 403:
      return Errc::kPermissionDenied;
    case 404:
      return Errc::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return Errc::kUnavailable;
    default:
      return Errc::kUnknown;
  }
}

std::optional<Errc> code_of_name(std::string_view name) {
  for (int i = kErrcFirst; i <= kErrcLast; ++i) {
    const auto code = static_cast<Errc>(i);
    if (errc_name(code) == name) return code;
  }
  return std::nullopt;
}

std::string error_body(const Error& error, const std::vector<ErrorDetail>& details) {
  nlohmann::ordered_json json = {{"code", errc_name(error.code)}};
  if (!error.message.empty()) {
    std::string message = error.message.substr(0, kErrorMessageBytesMax);
    json["message"] = std::move(message);
  }
  for (const ErrorDetail& detail : details) {
    std::string value = to_base64(as_bytes(detail.value));
    while (value.ends_with('=')) value.pop_back();
    json["details"].push_back({{"type", detail.type}, {"value", std::move(value)}});
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Error> parse_error_body(std::string_view body, Errc otherwise,
                                      std::vector<ErrorDetail>* details) {
  if (body.size() > kErrorBodyBytesMax || nesting_of(body) > kNestingMax) return std::nullopt;
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto text_of = [](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto code = code_of_name(text_of(json, "code"));
  if (!code && text_of(json, "message").empty()) return std::nullopt;
  const auto list = json.find("details");
  if (details != nullptr && list != json.end() && list->is_array()) {
    for (const auto& entry : *list) {
      if (!entry.is_object() || details->size() == kDetailCountMax) continue;
      const auto value = from_base64(text_of(entry, "value"));
      if (!value.has_value()) continue;
      details->push_back({text_of(entry, "type"), std::string(as_text(*value))});
    }
  }
  return Error{code.value_or(otherwise), text_of(json, "message")};
}

int nesting_of(std::string_view json) {
  int depth = 0;
  int deepest = 0;
  char quote = '\0';
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quote != '\0') {
      if (c == '\\') ++i;
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

Status parse_proto(std::string_view bytes, Message& message) {
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(kNestingMax);
  if (message.ParseFromCodedStream(&stream) && stream.ConsumedEntireMessage()) return {};
  return fail(Errc::kInvalidArgument,
              "the body is no " + message.GetTypeName() + " in protobuf's binary form");
}

Status parse_json(std::string_view text, Message& message) {
  if (nesting_of(text) > kNestingMax)
    return fail(Errc::kInvalidArgument,
                "JSON is nested deeper than " + std::to_string(kNestingMax) + " levels");
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(text.data(), text.size()), &message, options);
  if (status.ok()) return {};
  return fail(Errc::kInvalidArgument,
              "the body is no " + message.GetTypeName() + " in JSON: " + status.ToString());
}

Result<std::string> serialise(const Message& message, Codec codec) {
  std::string bytes;
  const bool is_done = codec == Codec::kProto
                           ? message.SerializeToString(&bytes)
                           : google::protobuf::util::MessageToJsonString(message, &bytes).ok();
  if (is_done) return bytes;
  return fail(Errc::kInternal, "a " + message.GetTypeName() + " cannot be serialised");
}

}  // namespace mh::net
